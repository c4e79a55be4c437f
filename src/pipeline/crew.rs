//! Several workers that share a list of jobs, one thread each. The results
//! come back in the order of the list, whoever did them.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use anyhow::{Context, anyhow};
use crossbeam_channel::bounded;

/// Lets `workers` do `jobs`, which may come slowly, calling `report` with the
/// number of those handed out.
///
/// # Errors
/// The first error of a job; no more are handed out then.
pub(super) fn share<W: Send, J: Send, T: Send>(
    workers: &mut [W],
    jobs: impl Iterator<Item = J>,
    work: impl Fn(&mut W, J) -> anyhow::Result<T> + Sync,
    report: &mut dyn FnMut(usize),
) -> anyhow::Result<Vec<T>> {
    let stop = AtomicBool::new(false);
    let (sender, receiver) = bounded::<(usize, J)>(workers.len().max(1));
    let mut results = std::thread::scope(|scope| -> anyhow::Result<Vec<(usize, T)>> {
        // Dropped on every way out, so that no worker waits for more.
        let sender = sender;
        let mut threads = Vec::with_capacity(workers.len());
        for (i, worker) in workers.iter_mut().enumerate() {
            let (receiver, stop, work) = (receiver.clone(), &stop, &work);
            let labour = move || -> anyhow::Result<Vec<(usize, T)>> {
                let mut done = Vec::new();
                for (number, job) in receiver {
                    if stop.load(Relaxed) {
                        break;
                    }
                    let result = work(worker, job).inspect_err(|_| stop.store(true, Relaxed))?;
                    done.push((number, result));
                }
                Ok(done)
            };
            let thread = std::thread::Builder::new().name(format!("worker {i}"));
            threads.push(thread.spawn_scoped(scope, labour).context("cannot start a thread")?);
        }
        drop(receiver);
        for (number, job) in jobs.enumerate() {
            if stop.load(Relaxed) || sender.send((number, job)).is_err() {
                break;
            }
            report(number + 1);
        }
        drop(sender);
        let mut results = Vec::new();
        for thread in threads {
            let broken = |_| anyhow!("a worker broke down; this is a bug in Heatcast");
            results.extend(thread.join().map_err(broken)??);
        }
        Ok(results)
    })?;
    results.sort_by_key(|(number, _)| *number);
    Ok(results.into_iter().map(|(_, result)| result).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    fn results_keep_the_order_of_the_jobs_and_the_first_error_ends_the_work() {
        let mut reached = 0;
        let doubled = share(&mut [0; 3], 0..100, |_, i| Ok(i * 2), &mut |n| reached = n).unwrap();
        assert_eq!(doubled, (0..100).map(|i| i * 2).collect::<Vec<_>>());
        assert_eq!(reached, 100);
        let fails = |_: &mut i32, i: i32| if i == 5 { bail!("job 5") } else { Ok(i) };
        let error = share(&mut [0; 2], 0.., fails, &mut |_| {}).unwrap_err();
        assert_eq!(error.to_string(), "job 5");
        assert_eq!(share(&mut [0; 2], 0..0, |_, i| Ok(i), &mut |_| {}).unwrap(), [0; 0]);
    }
}
