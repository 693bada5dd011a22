//! What `--help` says of the results.

/// Below the list of commands.
pub(crate) const LINES: &str = "\
Each result is one JSON object on a line of standard output. All have:
  bench     the command
  store     memory, sqlite or mysql
  commit    of the source, with -dirty if it was changed since; unknown without git
  cores     that the process may use
  settings  under which it was measured: what was chosen, and what the engine has by default
and what `COMMAND --help` lists. Progress goes to standard error.

Build with --release, and let nothing else run on the machine. bench/README.md has figures.";

/// Below the flags of `throughput`.
pub(crate) const THROUGHPUT: &str = "\
Tasks of 100 jobs in five mixed priorities are enqueued through the scheduler's API, first some one by one, then the
rest in batches. Then an engine with default settings carries them all out; its handler only counts.

Fields, first without and then with durable starts:
  durable_start             whether each start was flushed before its handler ran (jobs with delivery at most once)
  tasks_per_second          from the first claim to the last durable settle
  floor_per_second          the same rows by a bare loop on the same backend; the faster of a run before and one after
  enqueue_one_per_second    tasks accepted durably, one a call, from as many callers as settings.enqueue_one_callers
  enqueue_batch_per_second  the same, settings.enqueue_batch tasks a call
  start_rows                starts that were written by themselves, not together with their end
  duplicates                runs beyond one for each task, and rows of the history beyond one
  lost                      tasks that didn't run, or that the history doesn't have as succeeded

Fields with --nodes, where each node is a process with an engine of its own:
  nodes                     how many there were
  tasks_per_second          of all together: from the first claim of any to the last durable settle of any
  one_node_per_second       the same of a single node, measured just before
  least_share               the smallest share of the tasks that one node settled, of 1: 1/nodes where all did alike
  duplicates lost           as above, of both runs
  nodes_down                nodes that ended, or that the store held to be offline, before all tasks were settled";

/// Below the flags of `latency`.
pub(crate) const LATENCY: &str = "\
A task's submit through the scheduler's API, durable as always, is followed until its handler starts.

Fields, a line for each load:
  load                       idle: one task at a time, the next 5 ms after the last was settled
                             half: half of the measured throughput, submitted every 5 ms whatever becomes of it; a late
                             submit counts from when it should have been
  submit_to_start_p50_ms     the median
  submit_to_start_p99_ms     what 99 of 100 don't exceed
  flush_p50_ms flush_p99_ms  a bare commit of one small row with a flush, on the same disk, measured just before and
                             just after; 0 in memory";

/// Below the flags of `lag`.
pub(crate) const LAG: &str = "\
Lag is the actual start of the handler minus the nominal instant of the fire.

Fields, a line for each shape:
  shape                      burst: schedules that fire once, all at one instant, on an engine at rest
                             steady: fixed rates, evenly spread, 1,000 fires a second together
  schedules                  how many there are
  drained_ms                 burst only: from that instant until the last task was settled durably
  lag_p50_ms lag_p99_ms      the median, and what 99 of 100 don't exceed
  flush_p50_ms flush_p99_ms  a bare commit of one small row with a flush, on the same disk, measured just before and
                             just after; 0 in memory";

/// Below the flags of `scale`.
pub(crate) const SCALE: &str = "\
All schedules are distinct cron rules. A thousand of them fire every five seconds, 200 a second together; the others
fire once a year and not now.

Fields, a line for each number of schedules:
  schedules        how many there are
  micros_per_fire  processor time of the whole process, the kernel's work for it included, by the number of fires: from
                   looking ahead to the settled task
  rss_mb           resident memory of the process in MiB, the benchmark itself included";

/// Below the flags of `idle`.
pub(crate) const IDLE: &str = "\
Fields:
  schedules    how many there are
  cpu_percent  processor time of the whole process, in percent of one core
  rss_mb       resident memory of the process in MiB, the benchmark itself included";

/// Below the flags of `floor`.
pub(crate) const FLOOR: &str = "\
Fields:
  floor_per_second           tasks a second: live row, lease, history row, 1,000 at a time, one flush a batch
  flush_p50_ms flush_p99_ms  a bare commit of one small row with a flush, measured just before and just after";
