//! Tasks on threads.

use std::sync::{Mutex, PoisonError};

use crate::Result;

/// Does tasks on some threads, in their order; the first error stops all.
pub(crate) fn in_parallel<T: Send>(
    threads: usize,
    tasks: &[usize],
    one: impl Fn(usize) -> Result<T> + Sync,
) -> Result<Vec<(usize, T)>> {
    let next = Mutex::new(tasks.iter().copied());
    let results: Mutex<Result<Vec<(usize, T)>>> = Mutex::new(Ok(Vec::new()));
    let lock = |results: &Mutex<Result<Vec<(usize, T)>>>, add: Result<(usize, T)>| {
        let mut results = results.lock().unwrap_or_else(PoisonError::into_inner);
        match (results.as_mut(), add) {
            (Ok(all), Ok(one)) => all.push(one),
            (Ok(_), Err(e)) => *results = Err(e),
            (Err(_), _) => {}
        }
        results.is_ok()
    };
    std::thread::scope(|scope| {
        for _ in 0..threads.min(tasks.len()) {
            scope.spawn(|| {
                loop {
                    let task = next.lock().unwrap_or_else(PoisonError::into_inner).next();
                    let Some(task) = task else { break };
                    if !lock(&results, one(task).map(|done| (task, done))) {
                        break;
                    }
                }
            });
        }
    });
    results.into_inner().unwrap_or_else(PoisonError::into_inner)
}
