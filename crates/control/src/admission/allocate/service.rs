//! What one Service needs: its addresses and ports on creation and on change.

use core::net::IpAddr;

use serde_json::{Value, json};
use shoal_api::field::{Error, Path};
use shoal_api::{GroupKind, Status, object};

use super::{Allocator, Assigned, Holdings, Refused};
use crate::admission::items_mut;
use crate::snapshot::{items, text};

impl Allocator {
    /// Gives a Service what it needs, and writes it into its spec: families, addresses, ports. Of an update, `old`
    /// is what there was; what it had and still needs it keeps. `seed` is chance.
    ///
    /// # Errors
    /// 422 when it asks for what cannot be given, 500 when nothing is left. Nothing is taken then.
    pub fn assign(
        &mut self,
        service: &mut Value,
        old: Option<&Value>,
        seed: u64,
    ) -> Result<Assigned, Status> {
        if let Some(old) = old {
            keep(service, old);
        }
        let before = old.map(Holdings::of).unwrap_or_default();
        let mut taken = Holdings::default();
        let result = self.give(service, &before, &mut taken, seed);
        if let Err(status) = result {
            self.release(&taken);
            return Err(status);
        }
        let freed = before.without(&Holdings::of(service));
        Ok(Assigned { taken, freed })
    }

    fn give(
        &mut self,
        service: &mut Value,
        before: &Holdings,
        taken: &mut Holdings,
        seed: u64,
    ) -> Result<(), Status> {
        if needs_address(service) {
            self.families(service)?;
            self.give_address(service, before, taken, seed)?;
        } else {
            let spec = spec(service);
            for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                spec.remove(field);
            }
        }
        if needs_ports(service) {
            self.give_ports(service, before, taken, seed)?;
        }
        if needs_check(service) {
            self.give_check(service, before, taken, seed)?;
        }
        Ok(())
    }

    fn families(&self, service: &mut Value) -> Result<(), Status> {
        let family = if self.network().addr().is_ipv4() { "IPv4" } else { "IPv6" };
        let other = if family == "IPv4" { "IPv6" } else { "IPv4" };
        let headless = service["spec"]["clusterIP"] == "None";
        let selected = service["spec"]["selector"].as_object().is_some_and(|selector| !selector.is_empty());
        let path = Path::new("spec");
        if headless && !selected {
            // Where nothing is chosen and no address is given, any family may be.
            if service["spec"]["ipFamilyPolicy"].is_null() {
                service["spec"]["ipFamilyPolicy"] = json!("RequireDualStack");
            }
            if service["spec"]["ipFamilies"].is_null() {
                let dual = service["spec"]["ipFamilyPolicy"] != "SingleStack";
                service["spec"]["ipFamilies"] = if dual { json!([family, other]) } else { json!([family]) };
            }
            return Ok(());
        }
        if service["spec"]["ipFamilyPolicy"] == "RequireDualStack" {
            let detail = "this cluster is not configured for dual-stack services";
            let error = Error::invalid(&path.child("ipFamilyPolicy"), &json!("RequireDualStack"), detail);
            return Err(invalid(service, error));
        }
        let wanted: Vec<Value> = items(&service["spec"]["ipFamilies"]).cloned().collect();
        if let Some(at) = wanted.iter().position(|wanted| *wanted != family) {
            let path = path.child("ipFamilies").index(at);
            let error = Error::invalid(&path, &wanted[at], "not configured on this cluster");
            return Err(invalid(service, error));
        }
        service["spec"]["ipFamilies"] = json!([family]);
        if service["spec"]["ipFamilyPolicy"].is_null() {
            service["spec"]["ipFamilyPolicy"] = json!("SingleStack");
        }
        Ok(())
    }

    fn give_address(
        &mut self,
        service: &mut Value,
        before: &Holdings,
        taken: &mut Holdings,
        seed: u64,
    ) -> Result<(), Status> {
        let wanted = text(&service["spec"]["clusterIP"]).to_string();
        if wanted == "None" {
            service["spec"]["clusterIPs"] = json!(["None"]);
            return Ok(());
        }
        let address: IpAddr = if wanted.is_empty() {
            let some = self.take_some_address(seed);
            let some =
                some.map_err(|why| Status::internal(format!("failed to allocate a serviceIP: {why}")))?;
            taken.addresses.push(some);
            some
        } else {
            let refused = |why: &str| {
                let shown = json!([wanted]).to_string();
                let path = Path::new("spec").child("clusterIPs");
                // Go shows a list with its type.
                let message = format!("Invalid value: []string{{{}}}: {why}", &shown[1..shown.len() - 1]);
                invalid(service, Error { reason: shoal_api::field::Reason::Invalid, path, message })
            };
            let address: IpAddr = wanted.parse().map_err(|_| {
                refused(&format!("failed to allocate IP {wanted}: must be a valid IP address"))
            })?;
            if !before.addresses.contains(&address) {
                let taking = self.take_address(address);
                taking.map_err(|why| refused(&format!("failed to allocate IP {address}: {why}")))?;
                taken.addresses.push(address);
            }
            address
        };
        service["spec"]["clusterIP"] = json!(address.to_string());
        service["spec"]["clusterIPs"] = json!([address.to_string()]);
        Ok(())
    }

    fn give_ports(
        &mut self,
        service: &mut Value,
        before: &Holdings,
        taken: &mut Holdings,
        seed: u64,
    ) -> Result<(), Status> {
        let mut ports: Vec<Value> = items(&service["spec"]["ports"]).cloned().collect();
        // First those that are asked for, so that none of them is given away meanwhile.
        for (at, port) in ports.iter().enumerate() {
            let number = number(&port["nodePort"]);
            let path = Path::new("spec").child("ports").index(at).child("nodePort");
            if number > 0 {
                self.give_port(service, &path, number, before, taken)?;
            }
        }
        for at in 0..ports.len() {
            if number(&ports[at]["nodePort"]) > 0 {
                continue;
            }
            // The same port of another protocol may have the same number outside.
            let twin = ports.iter().find(|other| {
                other["port"] == ports[at]["port"]
                    && other["protocol"] != ports[at]["protocol"]
                    && number(&other["nodePort"]) > 0
            });
            let given = match twin {
                Some(twin) => number(&twin["nodePort"]),
                None => {
                    self.some_port(taken, seed.rotate_left(u32::try_from(at % 64).unwrap_or_default()))?
                }
            };
            ports[at]["nodePort"] = json!(given);
        }
        if !ports.is_empty() {
            service["spec"]["ports"] = json!(ports);
        }
        Ok(())
    }

    fn give_check(
        &mut self,
        service: &mut Value,
        before: &Holdings,
        taken: &mut Holdings,
        seed: u64,
    ) -> Result<(), Status> {
        let wanted = number(&service["spec"]["healthCheckNodePort"]);
        if wanted > 0 {
            let path = Path::new("spec").child("healthCheckNodePort");
            return self.give_port(service, &path, wanted, before, taken);
        }
        service["spec"]["healthCheckNodePort"] = json!(self.some_port(taken, seed.rotate_left(32))?);
        Ok(())
    }

    fn some_port(&mut self, taken: &mut Holdings, seed: u64) -> Result<u16, Status> {
        let port = self.take_some_port(seed);
        let port = port.map_err(|why| Status::internal(format!("failed to allocate a nodePort: {why}")))?;
        taken.ports.push(port);
        Ok(port)
    }

    fn give_port(
        &mut self,
        service: &Value,
        path: &Path,
        wanted: u16,
        before: &Holdings,
        taken: &mut Holdings,
    ) -> Result<(), Status> {
        if before.ports.contains(&wanted) || taken.ports.contains(&wanted) {
            return Ok(());
        }
        let taking = self.take_port(wanted);
        let refused = |why: Refused| invalid(service, Error::invalid(path, &json!(wanted), &why.to_string()));
        taking.map_err(refused)?;
        taken.ports.push(wanted);
        Ok(())
    }
}

/// What the user leaves out of an update stays as it was given.
fn keep(service: &mut Value, old: &Value) {
    if needs_address(service) && needs_address(old) {
        for field in ["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
            let empty = service["spec"][field].is_null() || service["spec"][field] == "";
            if empty && !old["spec"][field].is_null() {
                service["spec"][field] = old["spec"][field].clone();
            }
        }
    }
    if needs_ports(service) && needs_ports(old) {
        let known: Vec<Value> = items(&old["spec"]["ports"]).cloned().collect();
        for port in items_mut(&mut service["spec"], "ports") {
            let same =
                |known: &&Value| known["port"] == port["port"] && known["protocol"] == port["protocol"];
            let given = known.iter().find(same).map(|known| number(&known["nodePort"])).filter(|at| *at > 0);
            if let Some(given) = given.filter(|_| number(&port["nodePort"]) == 0) {
                port["nodePort"] = json!(given);
            }
        }
    }
    if needs_check(service) && needs_check(old) && number(&service["spec"]["healthCheckNodePort"]) == 0 {
        service["spec"]["healthCheckNodePort"] = old["spec"]["healthCheckNodePort"].clone();
    }
}

fn needs_address(service: &Value) -> bool {
    service["spec"]["type"] != "ExternalName"
}

fn needs_ports(service: &Value) -> bool {
    let spec = &service["spec"];
    spec["type"] == "NodePort"
        || (spec["type"] == "LoadBalancer" && spec["allocateLoadBalancerNodePorts"] != false)
}

fn needs_check(service: &Value) -> bool {
    service["spec"]["type"] == "LoadBalancer" && service["spec"]["externalTrafficPolicy"] == "Local"
}

fn number(value: &Value) -> u16 {
    value.as_u64().and_then(|number| u16::try_from(number).ok()).unwrap_or_default()
}

fn spec(service: &mut Value) -> &mut serde_json::Map<String, Value> {
    object::child_mut(service.as_object_mut().expect("an object is a JSON object"), "spec")
}

fn invalid(service: &Value, error: Error) -> Status {
    let kind = GroupKind { group: String::new(), kind: "Service".into() };
    Status::invalid(&kind, object::name(service), &[error])
}
