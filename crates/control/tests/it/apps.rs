//! Apps: what they expand to, that it is kept, and how they say how they are.

use expect_test::expect;
use serde_json::{Value, json};
use shoal_api::{GroupVersionKind, object};
use shoal_control::controllers::app::Apps;
use shoal_control::controllers::deployment::Deployments;
use shoal_control::controllers::replica_set::ReplicaSets;
use shoal_control::known::{APP, CRON_JOB, DEPLOYMENT, INGRESS, POD, SERVICE};
use shoal_control::snapshot::Snapshot as _;
use shoal_control::world::World;

use crate::support::{namespace, object as bare};

fn app(spec: Value) -> Value {
    let mut app = bare("shoal.dev/v1", "App", "shop");
    app["spec"] = spec;
    app
}

fn world(spec: Value) -> World {
    let mut world =
        World::new(vec![Box::new(Apps), Box::new(Deployments), Box::new(ReplicaSets)]).with_defaults();
    world.apply(namespace("demo"));
    world.apply(app(spec));
    world.settle();
    world
}

fn get(world: &World, kind: &GroupVersionKind) -> Option<Value> {
    world.get(kind, "demo", "shop").map(|object| Value::clone(&object))
}

fn pretty(world: &World, kind: &GroupVersionKind) -> String {
    let Some(object) = get(world, kind) else { return "none".into() };
    serde_json::to_string_pretty(&object["spec"]).expect("it is JSON")
}

fn conditions(world: &World) -> String {
    let app = get(world, &APP).expect("it is there");
    let status = &app["status"];
    let told = status["conditions"].as_array().into_iter().flatten().map(|one| {
        let part = |field: &str| one[field].as_str().unwrap_or_default();
        format!("{} {} {}: {}\n", part("type"), part("status"), part("reason"), part("message"))
    });
    format!(
        "{}/{} {}\n{}",
        status["readyReplicas"],
        status["replicas"],
        status["url"],
        told.collect::<String>()
    )
}

fn whole() -> Value {
    json!({
        "component": "registry.example/shop:1", "args": ["--fast"], "env": {"COLOUR": "blue"}, "port": 8080,
        "replicas": 2, "serviceAccountName": "shop",
        "routes": [
            {"host": "shop.example", "path": "/", "tlsSecretName": "shop-tls"},
            {"host": "shop.example", "path": "/api"},
            {"path": "/everywhere"},
        ],
        "grants": {
            "outbound": ["api.example:443", "*.example"], "keyvalue": ["carts"], "listen": [9000],
            "config": {"greeting": "hi"},
            "directories": [
                {"path": "/data"}, {"path": "/etc/shop", "configMap": "shop", "readOnly": true},
                {"path": "/keys", "secret": "keys"}, {"path": "/disk", "claim": "disk"},
            ],
        },
        "limits": {"memory": "65536Ki", "cpu": "100ms", "timeout": "5s", "concurrency": 10},
    })
}

#[test]
fn an_app_is_a_deployment_a_service_and_an_ingress() {
    let world = world(whole());
    expect![[r#"
        {
          "progressDeadlineSeconds": 600,
          "replicas": 2,
          "revisionHistoryLimit": 10,
          "selector": {
            "matchLabels": {
              "shoal.dev/app": "shop"
            }
          },
          "strategy": {
            "rollingUpdate": {
              "maxSurge": "25%",
              "maxUnavailable": "25%"
            },
            "type": "RollingUpdate"
          },
          "template": {
            "metadata": {
              "annotations": {
                "config.shoal.dev/greeting": "hi",
                "shoal.dev/allow-listen": "9000",
                "shoal.dev/allow-outbound": "api.example:443,*.example",
                "shoal.dev/concurrency": "10",
                "shoal.dev/cpu-time": "100ms",
                "shoal.dev/keyvalue": "carts",
                "shoal.dev/timeout": "5s"
              },
              "labels": {
                "app.kubernetes.io/managed-by": "shoal",
                "app.kubernetes.io/name": "shop",
                "shoal.dev/app": "shop"
              }
            },
            "spec": {
              "containers": [
                {
                  "args": [
                    "--fast"
                  ],
                  "env": [
                    {
                      "name": "COLOUR",
                      "value": "blue"
                    }
                  ],
                  "image": "registry.example/shop:1",
                  "imagePullPolicy": "IfNotPresent",
                  "name": "app",
                  "ports": [
                    {
                      "containerPort": 8080,
                      "name": "http",
                      "protocol": "TCP"
                    }
                  ],
                  "resources": {
                    "limits": {
                      "memory": "64Mi"
                    }
                  },
                  "terminationMessagePath": "/dev/termination-log",
                  "terminationMessagePolicy": "File",
                  "volumeMounts": [
                    {
                      "mountPath": "/data",
                      "name": "directory-0"
                    },
                    {
                      "mountPath": "/etc/shop",
                      "name": "directory-1",
                      "readOnly": true
                    },
                    {
                      "mountPath": "/keys",
                      "name": "directory-2"
                    },
                    {
                      "mountPath": "/disk",
                      "name": "directory-3"
                    }
                  ]
                }
              ],
              "dnsPolicy": "ClusterFirst",
              "restartPolicy": "Always",
              "schedulerName": "default-scheduler",
              "securityContext": {},
              "serviceAccount": "shop",
              "serviceAccountName": "shop",
              "terminationGracePeriodSeconds": 30,
              "volumes": [
                {
                  "emptyDir": {},
                  "name": "directory-0"
                },
                {
                  "configMap": {
                    "defaultMode": 420,
                    "name": "shop"
                  },
                  "name": "directory-1"
                },
                {
                  "name": "directory-2",
                  "secret": {
                    "defaultMode": 420,
                    "secretName": "keys"
                  }
                },
                {
                  "name": "directory-3",
                  "persistentVolumeClaim": {
                    "claimName": "disk"
                  }
                }
              ]
            }
          }
        }"#]]
    .assert_eq(&pretty(&world, &DEPLOYMENT));
    expect![[r#"
        {
          "internalTrafficPolicy": "Cluster",
          "ports": [
            {
              "appProtocol": "http",
              "name": "http",
              "port": 8080,
              "protocol": "TCP",
              "targetPort": "http"
            }
          ],
          "selector": {
            "shoal.dev/app": "shop"
          },
          "sessionAffinity": "None",
          "type": "ClusterIP"
        }"#]]
    .assert_eq(&pretty(&world, &SERVICE));
    expect![[r#"
        {
          "rules": [
            {
              "http": {
                "paths": [
                  {
                    "backend": {
                      "service": {
                        "name": "shop",
                        "port": {
                          "name": "http"
                        }
                      }
                    },
                    "path": "/everywhere",
                    "pathType": "Prefix"
                  }
                ]
              }
            },
            {
              "host": "shop.example",
              "http": {
                "paths": [
                  {
                    "backend": {
                      "service": {
                        "name": "shop",
                        "port": {
                          "name": "http"
                        }
                      }
                    },
                    "path": "/",
                    "pathType": "Prefix"
                  },
                  {
                    "backend": {
                      "service": {
                        "name": "shop",
                        "port": {
                          "name": "http"
                        }
                      }
                    },
                    "path": "/api",
                    "pathType": "Prefix"
                  }
                ]
              }
            }
          ],
          "tls": [
            {
              "hosts": [
                "shop.example"
              ],
              "secretName": "shop-tls"
            }
          ]
        }"#]]
    .assert_eq(&pretty(&world, &INGRESS));
    let deployment = get(&world, &DEPLOYMENT).expect("it is there");
    expect![[r#"[{"apiVersion":"shoal.dev/v1","blockOwnerDeletion":true,"controller":true,"kind":"App","name":"shop","uid":"shop"}]"#]].assert_eq(&deployment["metadata"]["ownerReferences"].to_string());
    assert!(get(&world, &CRON_JOB).is_none());
}

#[test]
fn a_small_app_needs_little() {
    let world = world(json!({"component": "hello.wasm"}));
    expect![[r#"
        {
          "progressDeadlineSeconds": 600,
          "replicas": 1,
          "revisionHistoryLimit": 10,
          "selector": {
            "matchLabels": {
              "shoal.dev/app": "shop"
            }
          },
          "strategy": {
            "rollingUpdate": {
              "maxSurge": "25%",
              "maxUnavailable": "25%"
            },
            "type": "RollingUpdate"
          },
          "template": {
            "metadata": {
              "labels": {
                "app.kubernetes.io/managed-by": "shoal",
                "app.kubernetes.io/name": "shop",
                "shoal.dev/app": "shop"
              }
            },
            "spec": {
              "containers": [
                {
                  "image": "hello.wasm",
                  "imagePullPolicy": "Always",
                  "name": "app",
                  "ports": [
                    {
                      "containerPort": 80,
                      "name": "http",
                      "protocol": "TCP"
                    }
                  ],
                  "resources": {},
                  "terminationMessagePath": "/dev/termination-log",
                  "terminationMessagePolicy": "File"
                }
              ],
              "dnsPolicy": "ClusterFirst",
              "restartPolicy": "Always",
              "schedulerName": "default-scheduler",
              "securityContext": {},
              "terminationGracePeriodSeconds": 30
            }
          }
        }"#]]
    .assert_eq(&pretty(&world, &DEPLOYMENT));
    assert!(get(&world, &INGRESS).is_none());
    expect![[r#"
        0/1 "http://shop.demo"
        Ready False Starting: 0 of 1 replicas serve.
        Progressing True ReplicaSetUpdated: ReplicaSet "shop-7bf68f49d" is progressing.
        Failed False AsExpected: Nothing has failed.
    "#]]
    .assert_eq(&conditions(&world));
}

#[test]
fn what_an_app_made_is_kept_and_follows_it() {
    let mut world = world(whole());
    assert_eq!(world.settle(), "");
    // Somebody changes the Service, and gives more than the App does.
    world.change(&SERVICE, "demo", "shop", |service| service["spec"]["ports"][0]["port"] = json!(1));
    expect![[r#"
        app-controller: update Service demo/shop
    "#]]
    .assert_eq(&world.settle());
    world.delete(&INGRESS, "demo", "shop", None);
    expect![[r#"
        app-controller: create Ingress demo/shop
        app-controller: event Normal Created about shop: Created Ingress shop
    "#]]
    .assert_eq(&world.settle());
    // What the server fills in, and what a restart adds, is none of its business.
    world.change(&DEPLOYMENT, "demo", "shop", |deployment| {
        deployment["spec"]["template"]["metadata"]["annotations"]["kubectl.kubernetes.io/restartedAt"] =
            json!("now");
        deployment["spec"]["template"]["spec"]["dnsPolicy"] = json!("ClusterFirst");
    });
    assert!(!world.settle().contains("app-controller: update"));
    // A grant that is taken away is gone.
    world.change(&APP, "demo", "shop", |app| {
        app["spec"]["grants"].as_object_mut().expect("grants").remove("outbound");
        app["spec"]["routes"] = Value::Null;
    });
    world.settle();
    let deployment = get(&world, &DEPLOYMENT).expect("it is there");
    let annotations = &deployment["spec"]["template"]["metadata"]["annotations"];
    assert!(annotations["shoal.dev/allow-outbound"].is_null(), "{annotations}");
    assert!(get(&world, &INGRESS).is_none(), "an app without routes has no ingress");
}

#[test]
fn the_number_of_replicas_is_the_apps_unless_the_load_decides() {
    let mut world = world(json!({"component": "hello.wasm", "replicas": 2}));
    let replicas = |world: &World| get(world, &DEPLOYMENT).expect("it is there")["spec"]["replicas"].clone();
    let scale = |world: &mut World, replicas: i64| {
        world.change(&DEPLOYMENT, "demo", "shop", |deployment| {
            deployment["spec"]["replicas"] = json!(replicas);
        });
        world.settle();
    };
    scale(&mut world, 5);
    assert_eq!(replicas(&world), 2);
    world.change(&APP, "demo", "shop", |app| app["spec"]["scale"] = json!({"min": 1, "max": 6}));
    world.settle();
    scale(&mut world, 5);
    assert_eq!(replicas(&world), 5);
    world.change(&APP, "demo", "shop", |app| app["spec"]["env"] = json!({"A": "b"}));
    world.settle();
    assert_eq!(replicas(&world), 5, "a change of the app keeps what the load decided");
    scale(&mut world, 9);
    assert_eq!(replicas(&world), 2, "and what is out of bounds is put right");
}

/// The first pod gets no node, for this reason; gives its name.
fn unschedulable(world: &mut World, message: &str) -> String {
    let pod = object::name(&world.list(&POD, Some("demo"))[0]).to_owned();
    world.change(&POD, "demo", &pod, |pod| {
        pod["status"] = json!({"conditions": [{
            "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message,
        }]});
    });
    pod
}

#[test]
fn an_app_says_how_it_is_and_what_to_do() {
    let mut world = world(json!({"component": "hello.wasm", "routes": [{"host": "a.example"}]}));
    let pod = unschedulable(&mut world, "no nodes available to schedule pods");
    world.settle();
    expect![[r#"
        0/1 "http://a.example"
        Ready False Unschedulable: 0 of 1 replicas serve. Pod shop-7bf68f49d-17: no nodes available to schedule pods
        Progressing True ReplicaSetUpdated: ReplicaSet "shop-7bf68f49d" is progressing.
        Failed False AsExpected: Nothing has failed.
    "#]].assert_eq(&conditions(&world));
    world.change(&POD, "demo", &pod, |pod| {
        pod["status"] = json!({"phase": "Pending", "containerStatuses": [{
            "name": "app", "state": {"waiting": {"reason": "ErrImagePull", "message": "hello.wasm: no such file"}},
        }]});
    });
    world.settle();
    expect![[r#"
        0/1 "http://a.example"
        Ready False ErrImagePull: 0 of 1 replicas serve. Pod shop-7bf68f49d-17: ErrImagePull: hello.wasm: no such file
        Progressing True ReplicaSetUpdated: ReplicaSet "shop-7bf68f49d" is progressing.
        Failed False AsExpected: Nothing has failed.
    "#]].assert_eq(&conditions(&world));
    world.tick(700);
    expect![[r#"
        0/1 "http://a.example"
        Ready False ErrImagePull: 0 of 1 replicas serve. Pod shop-7bf68f49d-17: ErrImagePull: hello.wasm: no such file
        Progressing False ProgressDeadlineExceeded: ReplicaSet "shop-7bf68f49d" has timed out progressing.
        Failed True ProgressDeadlineExceeded: ReplicaSet "shop-7bf68f49d" has timed out progressing.
    "#]].assert_eq(&conditions(&world));
    world.change(&POD, "demo", &pod, |pod| {
        pod["status"] = json!({"phase": "Running", "conditions": [{
            "type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z",
        }]});
    });
    expect!["app-controller: event Normal Serving about shop: The app serves at http://a.example"]
        .assert_eq(world.settle().lines().find(|line| line.contains("Serving")).unwrap_or("-"));
    expect![[r#"
        1/1 "http://a.example"
        Ready True Serving: 1 of 1 replicas serve.
        Progressing False NewReplicaSetAvailable: ReplicaSet "shop-7bf68f49d" has successfully progressed.
        Failed False AsExpected: Nothing has failed.
    "#]]
    .assert_eq(&conditions(&world));
}

#[test]
fn a_name_that_is_taken_is_told_of_and_left_alone() {
    let mut world = World::new(vec![Box::new(Apps)]);
    world.apply(namespace("demo"));
    let mut foreign = bare("v1", "Service", "shop");
    foreign["spec"] = json!({"clusterIP": "10.96.0.5"});
    world.apply(foreign);
    world.apply(app(json!({"component": "hello.wasm"})));
    world.settle();
    expect![[r#"
        0/0 "http://shop.demo"
        Ready False Starting: 0 of 1 replicas serve.
        Progressing True Expanding: The Deployment is about to begin.
        Failed True NameTaken: Service "shop" exists and does not belong to this app: delete it, or give the app another name
    "#]].assert_eq(&conditions(&world));
    assert_eq!(get(&world, &SERVICE).expect("it is there")["spec"], json!({"clusterIP": "10.96.0.5"}));
    world.delete(&SERVICE, "demo", "shop", None);
    world.settle();
    assert!(conditions(&world).contains("Failed False"));
}

#[test]
fn an_app_with_a_schedule_is_a_cron_job() {
    let world = world(json!({"component": "tidy.wasm", "schedule": "0 3 * * *"}));
    expect![[r#"
        {
          "concurrencyPolicy": "Forbid",
          "failedJobsHistoryLimit": 1,
          "jobTemplate": {
            "spec": {
              "template": {
                "metadata": {
                  "labels": {
                    "app.kubernetes.io/managed-by": "shoal",
                    "app.kubernetes.io/name": "shop",
                    "shoal.dev/app": "shop"
                  }
                },
                "spec": {
                  "containers": [
                    {
                      "image": "tidy.wasm",
                      "imagePullPolicy": "Always",
                      "name": "app",
                      "resources": {},
                      "terminationMessagePath": "/dev/termination-log",
                      "terminationMessagePolicy": "File"
                    }
                  ],
                  "dnsPolicy": "ClusterFirst",
                  "restartPolicy": "OnFailure",
                  "schedulerName": "default-scheduler",
                  "securityContext": {},
                  "terminationGracePeriodSeconds": 30
                }
              }
            }
          },
          "schedule": "0 3 * * *",
          "successfulJobsHistoryLimit": 3,
          "suspend": false
        }"#]]
    .assert_eq(&pretty(&world, &CRON_JOB));
    assert!(get(&world, &DEPLOYMENT).is_none() && get(&world, &SERVICE).is_none());
    assert!(
        conditions(&world).contains("Ready False ScheduleNotRun"),
        "what nothing runs is not said to run"
    );
}

#[test]
fn an_app_whose_certificate_is_taken_away_has_none() {
    let mut world = world(whole());
    assert!(get(&world, &INGRESS).expect("it is there")["spec"]["tls"].is_array());
    world.change(&INGRESS, "demo", "shop", |ingress| ingress["spec"]["ingressClassName"] = json!("edge"));
    world.change(&APP, "demo", "shop", |app| {
        app["spec"]["routes"][0].as_object_mut().expect("a route").remove("tlsSecretName");
    });
    expect![[r#"
        app-controller: update Ingress demo/shop
        app-controller: status App demo/shop
    "#]]
    .assert_eq(&world.settle());
    let ingress = get(&world, &INGRESS).expect("it is there");
    assert!(ingress["spec"].get("tls").is_none(), "{ingress}");
    assert_eq!(ingress["spec"]["ingressClassName"], "edge", "what the app never asks for stays");
    assert_eq!(world.settle(), "");
}

#[test]
fn what_an_app_of_the_same_name_left_behind_is_not_its_own() {
    let mut world = world(json!({"component": "hello.wasm"}));
    unschedulable(&mut world, "no room");
    // How the reference is written besides makes no difference.
    world.change(&DEPLOYMENT, "demo", "shop", |deployment| {
        deployment["metadata"]["ownerReferences"][0]["blockOwnerDeletion"] = json!(false);
    });
    world.settle();
    assert!(conditions(&world).starts_with("0/1 "), "{}", conditions(&world));
    assert!(conditions(&world).contains("no room"), "{}", conditions(&world));
    // The App is deleted and made anew, before what it had made is cleaned away.
    world.delete(&APP, "demo", "shop", None);
    let mut second = app(json!({"component": "hello.wasm"}));
    second["metadata"]["uid"] = json!("second");
    world.apply(second);
    world.settle();
    expect![[r#"
        0/0 "http://shop.demo"
        Ready False Starting: 0 of 0 replicas serve.
        Progressing True Expanding: The Deployment is about to begin.
        Failed True NameTaken: Deployment "shop" exists and does not belong to this app: delete it, or give the app another name
    "#]].assert_eq(&conditions(&world));
}

#[test]
fn the_url_is_that_of_the_edge() {
    let mut world = world(json!({"component": "registry.example/shop:1", "routes": [{"path": "/shop"}]}));
    let url = |world: &World| get(world, &APP).expect("it is there")["status"]["url"].clone();
    assert_eq!(url(&world), "http://localhost/shop");
    for (edge, expected) in [
        (json!({"ip": "127.0.0.1", "ports": [{"port": 8080}, {"port": 8443}]}), "http://127.0.0.1:8080/shop"),
        (json!({"ip": "::1", "ports": [{"port": 80}, {"port": 443}]}), "http://[::1]/shop"),
        (json!({"hostname": "edge.example"}), "http://edge.example/shop"),
    ] {
        world.change(&INGRESS, "demo", "shop", |ingress| {
            ingress["status"] = json!({"loadBalancer": {"ingress": [edge.clone()]}});
        });
        world.settle();
        assert_eq!(url(&world), expected);
    }
}
