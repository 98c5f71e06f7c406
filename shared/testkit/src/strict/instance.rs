//! A module that runs.

use std::path::Path;

use wasmi::{Engine, ExternType, Func, Linker, Module, Store, Val, ValType};

use super::imports;
use super::kong::{Kong, Rule, Step};

/// Callbacks that Kong calls without asking, or without which it does not load the filter, and how many
/// arguments each has.
const CALLBACKS: [(&str, usize); 13] = [
    ("proxy_on_memory_allocate", 1),
    ("proxy_on_context_create", 2),
    ("proxy_on_vm_start", 2),
    ("proxy_on_configure", 2),
    ("proxy_on_request_headers", 3),
    ("proxy_on_request_body", 3),
    ("proxy_on_response_headers", 3),
    ("proxy_on_response_body", 3),
    ("proxy_on_response_trailers", 2),
    ("proxy_on_done", 1),
    ("proxy_on_log", 1),
    ("proxy_on_delete", 1),
    ("_initialize", 0),
];

/// A module in its sandbox.
pub struct Instance {
    store: Store<Kong>,
    instance: wasmi::Instance,
}

impl Instance {
    /// Loads a module as Kong would.
    ///
    /// # Errors
    /// Why Kong would not, or how it would die of it.
    pub fn load(path: &Path, kong: Kong) -> Result<Self, String> {
        let bytes = std::fs::read(path).map_err(|e| format!("{}: {e}", path.display()))?;
        Self::of(&bytes, kong)
    }

    /// The same from the module's bytes or text.
    ///
    /// # Errors
    /// As [`Instance::load`].
    pub fn of(bytes: &[u8], kong: Kong) -> Result<Self, String> {
        let broken = |what: String| format!("{}: {what}", Rule::Load);
        let engine = Engine::default();
        let module = Module::new(&engine, bytes).map_err(|e| broken(e.to_string()))?;
        for (name, arguments) in CALLBACKS {
            match module.get_export(name) {
                Some(ExternType::Func(ty)) if ty.params().len() == arguments => {}
                Some(_) => return Err(broken(format!("{name} has another signature"))),
                None => return Err(broken(format!("there is no {name}"))),
            }
        }
        let mut store = Store::new(&engine, kong);
        let mut linker = Linker::new(&engine);
        imports::define(&mut linker).map_err(|e| broken(e.to_string()))?;
        let instance = linker
            .instantiate_and_start(&mut store, &module)
            .map_err(|e| broken(e.to_string()))?;
        let mut loaded = Self { store, instance };
        loaded.call(Step::Start, 0, "_initialize", &[])?;
        Ok(loaded)
    }

    pub fn kong(&mut self) -> &mut Kong {
        self.store.data_mut()
    }

    /// Runs a callback of a context; 0 if it has no result, or is not there.
    ///
    /// # Errors
    /// When it trapped.
    pub fn call(
        &mut self,
        step: Step,
        context: u32,
        name: &str,
        arguments: &[u32],
    ) -> Result<u32, String> {
        let Some(callback) = self.callback(name) else {
            return Ok(0);
        };
        let kong = self.kong();
        (kong.step, kong.context) = (step, context);
        let broken = kong.broken.len();
        let arguments: Vec<Val> = arguments
            .iter()
            .map(|n| Val::I32(n.cast_signed()))
            .collect();
        let results = callback.ty(&self.store);
        let mut out: Vec<Val> = results
            .results()
            .iter()
            .map(|ty| match ty {
                ValType::I64 => Val::I64(0),
                _ => Val::I32(0),
            })
            .collect();
        match callback.call(&mut self.store, &arguments, &mut out) {
            Ok(()) => Ok(out.first().and_then(Val::i32).map_or(0, i32::cast_unsigned)),
            Err(error) => {
                let kong = self.kong();
                if kong.broken.len() == broken {
                    let _ = kong.break_rule(Rule::Trap, format_args!("{name}: {error}"));
                }
                Err(format!("{name}: {error}"))
            }
        }
    }

    fn callback(&self, name: &str) -> Option<Func> {
        self.instance.get_func(&self.store, name)
    }
}
