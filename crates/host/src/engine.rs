//! The engines: one for WASI 0.2 and core modules, one for 0.3, since asynchronous components cost every
//! store of their engine.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use shoal_base::units::Bytes;
use shoal_runtime::Refusal;
use wasmtime::{Config, Engine};

use crate::budget::Budget;
use crate::loaded::Loaded;
use crate::pool::PoolPlan;
use crate::shelf::Shelves;
use crate::ticker::Ticker;

/// Which engine an artifact needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) enum Flavour {
    /// No asynchronous component functions: WASI 0.2, core modules.
    Sync,
    /// Asynchronous component functions: WASI 0.3.
    Async,
}

/// Both engines and their clock.
pub(crate) struct Engines {
    sync: Engine,
    asynchronous: Engine,
    plan: PoolPlan,
    pub(crate) ticker: Arc<Ticker>,
    pub(crate) shelves: Arc<Shelves>,
    pub(crate) budget: Arc<Budget>,
    /// Code that workloads of these engines have.
    pub(crate) loaded: Loaded,
}

impl Engines {
    /// Makes both engines, with instances allocated as planned.
    pub(crate) fn new(plan: PoolPlan) -> Result<Self, Refusal> {
        let make = |flavour| {
            Engine::new(&config(flavour, &plan))
                .map_err(|error| Refusal::new(format!("cannot make the engine: {error:#}")))
        };
        let (sync, asynchronous) = (make(Flavour::Sync)?, make(Flavour::Async)?);
        let ticker = Ticker::start(vec![sync.clone(), asynchronous.clone()]).map_err(|error| {
            Refusal::new(format!("cannot have the timers that interrupt guests: {error}"))
        })?;
        let shelves = Shelves::new(plan.resting_max()).map_err(|error| {
            Refusal::new(format!("cannot start the thread of resting instances: {error}"))
        })?;
        let budget = Budget::new(&plan, Arc::clone(&shelves));
        Ok(Self { sync, asynchronous, plan, ticker, shelves, budget, loaded: Loaded::default() })
    }

    /// What all guests together may have.
    pub(crate) fn memory_total(&self) -> Bytes {
        self.plan.memory_total
    }

    /// What an engine of this flavour was made with.
    pub(crate) fn config(&self, flavour: Flavour) -> Config {
        config(flavour, &self.plan)
    }

    /// Live instances of each engine against what its pool holds, as Prometheus text.
    pub(crate) fn metrics(&self) -> String {
        let mut text = String::from(
            "# HELP shoal_pool_instances Component instances alive in the pool of an engine.\n\
             # TYPE shoal_pool_instances gauge\n",
        );
        let engines = [("0.2", &self.sync), ("0.3", &self.asynchronous)];
        for (wasi, engine) in engines {
            let live = engine.pooling_allocator_metrics().map_or(0, |metrics| metrics.component_instances());
            text.push_str(&format!("shoal_pool_instances{{wasi=\"{wasi}\"}} {live}\n"));
        }
        let slots = self.plan.pool.map_or(0, |pool| pool.slots);
        text.push_str(
            "# HELP shoal_pool_slots Component instances that the pool of one engine can hold; 0: no pool.\n\
             # TYPE shoal_pool_slots gauge\n",
        );
        text.push_str(&format!("shoal_pool_slots {slots}\n"));
        text.push_str(&self.shelves.metrics());
        text.push_str(&self.budget.metrics());
        text
    }

    /// The engine of this flavour.
    pub(crate) fn get(&self, flavour: Flavour) -> &Engine {
        match flavour {
            Flavour::Sync => &self.sync,
            Flavour::Async => &self.asynchronous,
        }
    }
}

/// What decides the compiled code, and how instances are laid out.
fn config(flavour: Flavour, plan: &PoolPlan) -> Config {
    let mut config = Config::new();
    config.epoch_interruption(true);
    config.concurrency_support(flavour == Flavour::Async);
    config.wasm_component_model_async(flavour == Flavour::Async);
    plan.apply(&mut config);
    config
}
