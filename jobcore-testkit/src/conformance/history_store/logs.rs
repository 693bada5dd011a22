//! Log chunks.

use jobcore::attempt::{LogChunk, LogStream};
use jobcore::store::ReadLogs;

use crate::conformance::fixture::{Fixture, task_id};

fn chunk(f: &Fixture, id: &str, attempt: u32, sequence: u64, text: &str) -> LogChunk {
    LogChunk {
        task_id: task_id(id),
        attempt,
        sequence,
        stream: LogStream::Stdout,
        log_time: f.at(1),
        text: text.into(),
    }
}

async fn append(f: &Fixture, chunks: Vec<LogChunk>) {
    f.store.append_logs(chunks).await.expect("append_logs");
}

async fn read(f: &Fixture, id: &str, attempt: u32, first_sequence: u64, limit: usize) -> Vec<LogChunk> {
    let request = ReadLogs {
        task_id: task_id(id),
        attempt,
        first_sequence,
        limit,
    };
    f.store.read_logs(&request).await.expect("read_logs")
}

pub(super) async fn logs_are_read_in_order(f: &Fixture) {
    f.insert_some(&["t"]).await;
    let chunks: Vec<LogChunk> = (0..4)
        .map(|n| chunk(f, "t", 1, n, &format!("line {n} ü\n\0")))
        .collect();
    append(f, vec![chunks[2].clone(), chunks[0].clone()]).await;
    append(f, vec![chunks[3].clone(), chunks[1].clone()]).await;
    assert_eq!(read(f, "t", 1, 0, 10).await, chunks);
}

pub(super) async fn logs_are_read_from_a_sequence_on_up_to_a_limit(f: &Fixture) {
    f.insert_some(&["t", "u"]).await;
    append(f, (0..10).map(|n| chunk(f, "t", 1, n, "x")).collect()).await;
    let sequences = async |first, limit| -> Vec<u64> {
        let chunks = read(f, "t", 1, first, limit).await;
        chunks.iter().map(|chunk| chunk.sequence).collect()
    };
    assert_eq!(sequences(3, 4).await, [3, 4, 5, 6]);
    assert_eq!(sequences(8, 4).await, [8, 9]);
    assert_eq!(sequences(10, 4).await, [0; 0]);
}

pub(super) async fn a_log_chunk_is_written_once(f: &Fixture) {
    f.insert_some(&["t", "u"]).await;
    append(f, vec![chunk(f, "t", 1, 0, "first")]).await;
    append(
        f,
        vec![chunk(f, "t", 1, 0, "again"), chunk(f, "t", 1, 1, "second")],
    )
    .await;
    let chunks = read(f, "t", 1, 0, 10).await;
    assert_eq!(
        chunks,
        [chunk(f, "t", 1, 0, "first"), chunk(f, "t", 1, 1, "second")]
    );
}

pub(super) async fn logs_of_attempts_are_kept_apart(f: &Fixture) {
    f.insert_some(&["t", "u"]).await;
    append(
        f,
        vec![
            chunk(f, "t", 1, 0, "t1"),
            chunk(f, "t", 2, 0, "t2"),
            chunk(f, "u", 1, 0, "u1"),
        ],
    )
    .await;
    assert_eq!(read(f, "t", 2, 0, 10).await, [chunk(f, "t", 2, 0, "t2")]);
    assert_eq!(read(f, "u", 2, 0, 10).await, []);
}

pub(super) async fn logs_of_unknown_tasks_are_dropped(f: &Fixture) {
    f.insert_some(&["t"]).await;
    append(f, vec![chunk(f, "none", 1, 0, "x"), chunk(f, "t", 1, 0, "y")]).await;
    assert_eq!(read(f, "none", 1, 0, 10).await, []);
    assert_eq!(read(f, "t", 1, 0, 10).await, [chunk(f, "t", 1, 0, "y")]);
}

pub(super) async fn logs_can_come_after_the_end(f: &Fixture) {
    f.job().await;
    let node = f.node("n").await;
    f.finished(f.task("t"), &node, f.start).await;
    append(f, vec![chunk(f, "t", 1, 0, "late")]).await;
    assert_eq!(read(f, "t", 1, 0, 10).await, [chunk(f, "t", 1, 0, "late")]);
}
