//! The cluster: a store, controllers, nodes, and a clock that goes on by the second.

use std::sync::Arc;

use serde_json::Value;
use shoal_api::Status;
use shoal_api::resources::BUILT_IN;
use shoal_api::time::Moment;
use shoal_control::controllers::{garbage, of_workloads};
use shoal_control::plan::Write;
use shoal_control::snapshot::stored;
use shoal_control::world::World;

use crate::check::Checker;
use crate::fault::{Chance, Faults};
use crate::keeper::{Batch, Keeper, Objects, View};
use crate::node::Hollow;

/// A cluster that lives by steps of a second.
pub struct Cluster {
    /// The store: what is true.
    pub world: World,
    /// What goes wrong now.
    pub faults: Faults,
    /// Until then no request is answered.
    outage_until: Option<Moment>,
    pub(crate) chance: Chance,
    keepers: Vec<Keeper>,
    nodes: Vec<Hollow>,
    checker: Checker,
    snapshot: Arc<Objects>,
    revision: u64,
    view: View,
    /// What was written, if it is told.
    trace: Vec<String>,
}

/// What controllers and nodes reach of the cluster.
pub(crate) struct Api<'c> {
    world: &'c mut World,
    pub(crate) chance: &'c mut Chance,
    faults: Faults,
    is_out: bool,
    checker: &'c mut Checker,
    snapshot: &'c mut Arc<Objects>,
    revision: &'c mut u64,
    resources: &'c View,
    pending: &'c mut Vec<Batch>,
    trace: &'c mut Vec<String>,
}

impl Cluster {
    /// An empty cluster; the seed decides what chance decides.
    pub fn new(seed: u64) -> Self {
        let world = World::new(Vec::new()).with_defaults().with_grace().with_changes();
        let view = View { objects: Arc::default(), resources: Arc::new(stored(BUILT_IN.iter())) };
        let mut controllers = of_workloads(world.now());
        controllers.push(Box::new(garbage::GarbageCollector));
        Self {
            keepers: controllers.into_iter().map(|one| Keeper::new(one, view.clone())).collect(),
            nodes: Vec::new(),
            chance: Chance::new(seed),
            faults: Faults::NONE,
            outage_until: None,
            checker: Checker::default(),
            snapshot: Arc::default(),
            revision: 0,
            view,
            trace: Vec::new(),
            world,
        }
    }

    /// Adds a node.
    pub fn add_node(&mut self, name: &str) {
        self.nodes.push(Hollow::new(name));
    }

    /// A node dies, with all that it runs.
    ///
    /// # Errors
    /// There is no such node.
    pub fn kill(&mut self, name: &str) -> Result<(), String> {
        self.checker.disturb(self.world.now());
        self.node(name)?.kill();
        Ok(())
    }

    /// A node that died is back.
    ///
    /// # Errors
    /// There is no such node.
    pub fn revive(&mut self, name: &str) -> Result<(), String> {
        self.node(name)?.is_alive = true;
        Ok(())
    }

    /// No request is answered for so many seconds.
    pub fn cut(&mut self, seconds: i64) {
        self.checker.disturb(shoal_control::plan::after(self.world.now(), seconds));
        self.outage_until = Some(shoal_control::plan::after(self.world.now(), seconds));
    }

    /// Everyone lives and nothing goes wrong from now on.
    pub fn calm(&mut self) {
        self.faults = Faults::NONE;
        self.outage_until = None;
        self.nodes.iter_mut().for_each(|node| node.is_alive = true);
    }

    /// The names of all nodes.
    pub fn nodes(&self) -> Vec<String> {
        self.nodes.iter().map(|node| node.name.clone()).collect()
    }

    fn node(&mut self, name: &str) -> Result<&mut Hollow, String> {
        self.nodes
            .iter_mut()
            .find(|node| node.name == name)
            .ok_or_else(|| format!("there is no node {name:?}"))
    }

    /// What a user does to the store, as an object or a change; controllers will see it.
    pub fn user(&mut self, change: impl FnOnce(&mut World)) {
        change(&mut self.world);
        self.checker.note(&self.world);
        self.deliver();
    }

    /// Lets a second pass.
    ///
    /// # Errors
    /// What did not hold.
    pub fn step(&mut self) -> Result<(), String> {
        self.world.tick(1);
        let is_out = self.outage_until.is_some_and(|until| self.world.now() < until);
        let mut order: Vec<usize> = (0..self.keepers.len() + self.nodes.len()).collect();
        for at in (1..order.len()).rev() {
            order.swap(at, self.chance.index(at + 1));
        }
        for who in order {
            let mut pending = Vec::new();
            let mut api = Api {
                world: &mut self.world,
                chance: &mut self.chance,
                faults: self.faults,
                is_out,
                checker: &mut self.checker,
                snapshot: &mut self.snapshot,
                revision: &mut self.revision,
                resources: &self.view,
                pending: &mut pending,
                trace: &mut self.trace,
            };
            if who < self.keepers.len() {
                if !is_out {
                    self.keepers[who].work(&mut api);
                }
            } else {
                self.nodes[who - self.keepers.len()].act(&mut api);
            }
            for batch in pending {
                self.post(&batch);
            }
        }
        self.checker.check(&self.world)
    }

    /// Lets seconds pass.
    ///
    /// # Errors
    /// What did not hold.
    pub fn tick(&mut self, seconds: u64) -> Result<(), String> {
        (0..seconds).try_for_each(|_| self.step())
    }

    /// What was written since [`Cluster::take_trace`], a line each.
    pub fn trace(&self) -> &[String] {
        &self.trace
    }

    /// What was written since this was last asked, a line each.
    pub fn take_trace(&mut self) -> Vec<String> {
        std::mem::take(&mut self.trace)
    }

    /// Whether everything has come to rest as it should.
    ///
    /// # Errors
    /// What has not.
    pub fn has_settled(&self) -> Result<(), String> {
        crate::check::settled(&self.world)
    }

    fn deliver(&mut self) {
        if let Some(batch) = batch(&mut self.world, &mut self.snapshot, &mut self.revision) {
            self.post(&batch);
        }
    }

    fn post(&mut self, batch: &Batch) {
        let now = self.world.now();
        for keeper in &mut self.keepers {
            keeper.post(batch, now, self.faults, &mut self.chance);
        }
    }
}

/// What was written, with the world after it.
fn batch(world: &mut World, snapshot: &mut Arc<Objects>, revision: &mut u64) -> Option<Batch> {
    let changes = world.take_changes();
    if changes.is_empty() {
        return None;
    }
    *revision += 1;
    let objects = Arc::make_mut(snapshot);
    for (kind, _, is) in &changes {
        let key = shoal_control::plan::Key::of(kind, is);
        match world.objects().get(&key) {
            Some(object) => objects.insert(key, object.clone()),
            None => objects.remove(&key),
        };
    }
    Some(Batch { changes: Arc::new(changes), after: snapshot.clone(), revision: *revision })
}

impl Api<'_> {
    pub(crate) fn now(&self) -> Moment {
        self.world.now()
    }

    pub(crate) fn snapshot(&self) -> Arc<Objects> {
        self.snapshot.clone()
    }

    pub(crate) fn revision(&self) -> u64 {
        *self.revision
    }

    /// The world as it is.
    pub(crate) fn view(&self) -> View {
        View { objects: self.snapshot.clone(), resources: self.resources.resources.clone() }
    }

    /// A request that writes.
    pub(crate) fn write(&mut self, who: &'static str, write: Write) -> Result<String, Status> {
        let busy =
            || Status::new(503, "ServiceUnavailable", "the server is currently unable to handle the request");
        if self.is_out || self.chance.hits(self.faults.refused) {
            return Err(busy());
        }
        let told = shown(&write);
        let before = self.checker.before(who, &write, self.world);
        let done = self.world.write(write);
        if let Some(batch) = batch(self.world, self.snapshot, self.revision) {
            self.checker.saw(&batch.changes);
            self.pending.push(batch);
            self.trace.push(format!("{} {who} {told}", self.world.now().to_time()));
        }
        self.checker.after(before, self.world);
        if done.is_ok() && self.chance.hits(self.faults.unanswered) {
            return Err(busy());
        }
        done
    }
}

fn shown(write: &Write) -> String {
    let of = |verb: &str, key: &shoal_control::plan::Key| format!("{verb} {} {}", key.kind.kind, key.name);
    let name = |object: &Value| shoal_api::object::name(object).to_owned();
    match write {
        Write::Create { kind, object } => format!("create {} {}", kind.kind, name(object)),
        Write::Update { kind, object, .. } => format!("update {} {}", kind.kind, name(object)),
        Write::Patch { key, .. } => of("patch", key),
        Write::Delete { key, .. } => of("delete", key),
        Write::Bind { pod, node, .. } => format!("{} to {node}", of("bind", pod)),
        Write::Sign { key, .. } => of("sign", key),
        Write::MintToken { key, .. } => of("mint", key),
    }
}
