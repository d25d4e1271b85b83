//! One worker under its supervisor: when to step, and what is noted of each step.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};

use crate::worker::{Activity, Ended, Next, Report, Status, Step, Worker, WorkerError};
use crate::{Chance, Clock, Instant, Phase, Schedule, Shutdown, Trigger, instant_now, sleep, sleep_until};

/// The pause after a failed step; it doubles with each further one.
const PAUSE_MIN: Duration = Duration::from_secs(1);
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Makes a worker, at the start and after each panic.
pub(crate) type Make = Box<dyn Fn() -> Box<dyn Worker> + Send>;

/// An operator wants a run now.
pub(crate) struct Command {
    pub(crate) steps_max: u32,
    pub(crate) reply: oneshot::Sender<Report>,
}

/// A worker, and all that its time depends on.
pub(crate) struct Supervised {
    pub(crate) make: Make,
    pub(crate) worker: Box<dyn Worker>,
    pub(crate) schedule: Schedule,
    pub(crate) status: Arc<Mutex<Status>>,
    pub(crate) trigger: Trigger,
    pub(crate) commands: mpsc::Receiver<Command>,
    pub(crate) clock: Clock,
    pub(crate) chance: Chance,
    pub(crate) shutdown: Shutdown,
}

/// What ended a wait.
enum Woken {
    Due,
    Triggered,
    Asked(Command),
    Stopping,
}

impl Supervised {
    /// Steps until the process drains.
    pub(crate) async fn run(mut self) {
        let mut pause = self.at_random(self.schedule.first_within);
        loop {
            pause = match self.wait(pause).await {
                Woken::Stopping => break,
                Woken::Due => self.scheduled_step().await,
                Woken::Triggered => {
                    sleep(self.schedule.gather).await;
                    self.scheduled_step().await
                }
                Woken::Asked(command) => self.run_now(command).await,
            };
        }
        self.note(|status| (status.activity, status.next_step) = (Activity::Stopped, None));
    }

    /// Waits for whatever comes first. After a failure events do not cut the pause short: they would have
    /// it tried as often as they come.
    async fn wait(&mut self, pause: Duration) -> Woken {
        let due = instant_now() + pause;
        let failing = self.note(|status| status.consecutive_failures > 0);
        self.announce(due, if failing { Activity::BackingOff } else { Activity::Waiting });
        tokio::select! {
            biased;
            () = self.shutdown.reached(Phase::Draining) => Woken::Stopping,
            Some(command) = self.commands.recv() => Woken::Asked(command),
            () = self.trigger.pulled(), if !failing => Woken::Triggered,
            () = sleep_until(due) => Woken::Due,
        }
    }

    fn announce(&self, due: Instant, activity: Activity) {
        let at = self.clock.now().plus(due.saturating_duration_since(instant_now()));
        self.note(|status| (status.activity, status.next_step) = (activity, Some(at)));
    }

    /// One step; gives the pause behind it.
    async fn scheduled_step(&mut self) -> Duration {
        let stepped = self.step().await;
        match stepped {
            Ok(step) => self.pause_after(step.next),
            Err(_) => self.pause_after_failure(),
        }
    }

    /// The steps that an operator wants, and the pause behind them.
    async fn run_now(&mut self, command: Command) -> Duration {
        let mut report = Report { steps: 0, done: 0, failed: 0, ended: Ended::Bound };
        let mut pause = Duration::ZERO;
        while report.steps < command.steps_max && !command.reply.is_closed() && !self.is_draining() {
            report.steps += 1;
            match self.step().await {
                Ok(step) => {
                    report.done += step.done;
                    report.failed += step.failed;
                    pause = self.pause_after(step.next);
                    if step.next != Next::Now {
                        report.ended = Ended::Idle;
                        break;
                    }
                }
                Err(why) => {
                    report.ended = Ended::Failed(why);
                    pause = self.pause_after_failure();
                    break;
                }
            }
        }
        // Whoever asked may be gone.
        let _ = command.reply.send(report);
        pause
    }

    /// Makes a step and notes what came of it.
    async fn step(&mut self) -> Result<Step, String> {
        self.trigger.forget().await;
        self.note(|status| (status.activity, status.next_step) = (Activity::Working, None));
        let result = caught(self.worker.step()).await;
        let panicked = result.is_err();
        if panicked {
            // Nobody knows in which state it was left.
            self.worker = (self.make)();
        }
        let result = result.unwrap_or_else(|panic| Err(panic.into())).map_err(|error| error.to_string());
        let (now, progress) = (self.clock.now(), self.worker.progress());
        self.note(|status| {
            status.progress = progress;
            match &result {
                Ok(step) => {
                    status.steps_succeeded += 1;
                    status.consecutive_failures = 0;
                    status.last_success = Some(now);
                    status.done += step.done;
                    status.failed += step.failed;
                }
                Err(why) => {
                    status.steps_failed += 1;
                    status.consecutive_failures += 1;
                    status.restarts += u64::from(panicked);
                    status.last_failure = Some(now);
                    status.last_error = Some(why.clone());
                }
            }
        });
        result
    }

    fn pause_after(&self, next: Next) -> Duration {
        match next {
            Next::Now => Duration::ZERO,
            Next::After(pause) => pause,
            Next::Idle => {
                let twentieth = self.schedule.interval / 20;
                (self.schedule.interval - twentieth).saturating_add(self.at_random(twentieth * 2))
            }
        }
    }

    fn pause_after_failure(&self) -> Duration {
        let (name, failures, why) = self.note(|status| {
            (status.name.clone(), status.consecutive_failures, status.last_error.clone().unwrap_or_default())
        });
        let doublings = u32::try_from(failures.saturating_sub(1)).unwrap_or(u32::MAX).min(16);
        let pause = (PAUSE_MIN * 2u32.pow(doublings)).min(PAUSE_MAX);
        tracing::warn!(
            worker = name,
            failures,
            error = why,
            "a worker's step failed, trying again in {pause:?}"
        );
        pause
    }

    fn is_draining(&self) -> bool {
        self.shutdown.phase() >= Phase::Draining
    }

    fn at_random(&self, within: Duration) -> Duration {
        Duration::from_millis(self.chance.below(u64::try_from(within.as_millis()).unwrap_or(u64::MAX)))
    }

    fn note<T>(&self, change: impl FnOnce(&mut Status) -> T) -> T {
        let mut status: MutexGuard<'_, Status> = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut status)
    }
}

/// A step's future, as the trait makes it.
type Stepping<'a> = Pin<Box<dyn Future<Output = Result<Step, WorkerError>> + Send + 'a>>;

/// Runs a step; a panic is its error, in words.
async fn caught(mut stepping: Stepping<'_>) -> Result<Result<Step, WorkerError>, String> {
    poll_fn(|cx| match catch_unwind(AssertUnwindSafe(|| stepping.as_mut().poll(cx))) {
        Ok(Poll::Ready(result)) => Poll::Ready(Ok(result)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(payload) => {
            let text = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| payload.downcast_ref::<String>().cloned());
            Poll::Ready(Err(format!("the worker panicked: {}", text.unwrap_or_default())))
        }
    })
    .await
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use async_trait::async_trait;
    use types::Timestamp;

    use super::*;
    use crate::{Bell, RunError, Supervisor, Workers};

    /// Counts its steps; what comes of each is decided by a function of their number.
    struct Counting {
        steps: Arc<AtomicU64>,
        decide: fn(u64) -> Result<Step, WorkerError>,
    }

    #[async_trait]
    impl Worker for Counting {
        fn name(&self) -> String {
            "counting".to_owned()
        }

        async fn step(&mut self) -> Result<Step, WorkerError> {
            let number = self.steps.fetch_add(1, Ordering::SeqCst) + 1;
            (self.decide)(number)
        }
    }

    struct Bench {
        _supervisor: Supervisor,
        workers: Workers,
        trigger: Trigger,
        shutdown: Shutdown,
        steps: Arc<AtomicU64>,
    }

    fn start(schedule: Schedule, decide: fn(u64) -> Result<Step, WorkerError>) -> Bench {
        let clock = Clock::simulated(Timestamp::from_millis(1_800_000_000_000));
        let shutdown = Shutdown::new();
        let mut supervisor = Supervisor::new(clock, Chance::seeded(1), shutdown.clone());
        let steps = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&steps);
        let trigger = supervisor.add(schedule, move || Counting { steps: Arc::clone(&counted), decide });
        let workers = supervisor.workers();
        Bench { _supervisor: supervisor, workers, trigger, shutdown, steps }
    }

    impl Bench {
        fn steps(&self) -> u64 {
            self.steps.load(Ordering::SeqCst)
        }

        fn status(&self) -> Status {
            self.workers.status().remove(0)
        }
    }

    const HOUR: Duration = Duration::from_hours(1);
    const SECOND: Duration = Duration::from_secs(1);

    #[tokio::test(start_paused = true)]
    async fn an_idle_worker_steps_at_the_start_once_per_interval_and_when_triggered() {
        let bench = start(Schedule::every(HOUR), |_| Ok(Step::IDLE));
        sleep(SECOND).await;
        assert_eq!(bench.steps(), 1);
        bench.trigger.now();
        sleep(SECOND).await;
        assert_eq!(bench.steps(), 2);
        sleep(10 * HOUR).await;
        assert!((10..=13).contains(&bench.steps()), "{}", bench.steps());
        assert_eq!(bench.status().activity, Activity::Waiting);
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_is_left_is_done_at_once_and_what_is_due_later_then() {
        let bench = start(Schedule::every(HOUR), |number| match number {
            1..5 => Ok(Step::more(2)),
            5 => Ok(Step::finished(1).due_after(10 * SECOND)),
            _ => Ok(Step::IDLE),
        });
        sleep(SECOND).await;
        assert_eq!((bench.steps(), bench.status().done), (5, 9));
        sleep(10 * SECOND).await;
        assert_eq!(bench.steps(), 6);
    }

    #[tokio::test(start_paused = true)]
    async fn many_triggers_at_once_are_one_step() {
        let bench = start(Schedule::every(HOUR).gathering(SECOND), |_| Ok(Step::IDLE));
        sleep(SECOND).await;
        let bell = Bell::default();
        bell.wakes(&bench.trigger);
        for _ in 0..10 {
            bell.ring();
            sleep(SECOND / 20).await;
        }
        sleep(3 * SECOND).await;
        assert_eq!(bench.steps(), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_failing_worker_backs_off_whatever_happens_and_says_why() {
        let bench = start(Schedule::every(HOUR), |number| match number {
            ..=6 => Err("the catalog is gone".into()),
            _ => Ok(Step::finished(1)),
        });
        for _ in 0..40 {
            bench.trigger.now();
            sleep(SECOND / 2).await;
        }
        // 1 + 2 + 4 + 8 seconds, and the next pause is 16.
        assert_eq!(bench.steps(), 5);
        let status = bench.status();
        assert_eq!((status.consecutive_failures, status.activity), (5, Activity::BackingOff));
        assert_eq!(status.last_error.as_deref(), Some("the catalog is gone"));
        sleep(120 * SECOND).await;
        let status = bench.status();
        assert_eq!((status.consecutive_failures, status.steps_failed, status.done), (0, 6, 1));
    }

    #[tokio::test(start_paused = true)]
    async fn a_worker_that_panics_is_made_anew() {
        let bench = start(Schedule::every(HOUR), |number| {
            assert!(number > 1, "on purpose");
            Ok(Step::finished(1))
        });
        sleep(3 * SECOND).await;
        let status = bench.status();
        assert_eq!((status.restarts, status.steps_failed, status.steps_succeeded), (1, 1, 1));
        assert!(status.last_error.is_some_and(|why| why.contains("on purpose")));
    }

    #[tokio::test(start_paused = true)]
    async fn a_run_on_demand_ends_when_idle_when_bound_and_when_failing() {
        let bench = start(Schedule::every(HOUR).first_within(HOUR), |number| match number {
            1..=6 => Ok(Step::more(10).with_failed(1)),
            7 => Ok(Step::finished(3)),
            _ => Err("no".into()),
        });
        let run = async |steps_max| bench.workers.run("counting", steps_max).await.unwrap();
        assert_eq!(run(4).await, Report { steps: 4, done: 40, failed: 4, ended: Ended::Bound });
        // What is left the worker goes on with by itself.
        sleep(SECOND).await;
        assert_eq!((bench.steps(), bench.status().done), (7, 63));
        assert_eq!(run(1).await.ended, Ended::Failed("no".to_owned()));
        bench.steps.store(4, Ordering::SeqCst);
        assert_eq!(run(100).await, Report { steps: 3, done: 23, failed: 2, ended: Ended::Idle });
        assert_eq!(bench.workers.run("none", 1).await, Err(RunError::NoSuchWorker));
        assert!(!bench.workers.trigger("none") && bench.workers.trigger("counting"));
    }

    #[tokio::test(start_paused = true)]
    async fn no_step_begins_once_the_process_drains() {
        let bench = start(Schedule::every(SECOND), |_| Ok(Step::IDLE));
        sleep(3 * SECOND).await;
        bench.shutdown.advance(Phase::Draining);
        sleep(SECOND / 10).await;
        let steps = bench.steps();
        bench.trigger.now();
        sleep(100 * SECOND).await;
        assert_eq!((bench.steps(), bench.status().activity), (steps, Activity::Stopped));
        assert_eq!(bench.workers.run("counting", 1).await, Err(RunError::Stopped));
    }
}
