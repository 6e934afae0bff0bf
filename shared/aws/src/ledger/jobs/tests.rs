use super::*;

#[test]
fn a_job_is_read_as_it_was_written() {
    let at = Timestamp::from_millisecond(1_795_246_444_000).unwrap();
    let written = Job {
        id: JobId::from_parts(at, 1),
        tenant: "acme".parse().unwrap(),
        app: Some("crm".parse().unwrap()),
        kind: JobKind::Replay,
        scope: JobScope { webhook: None, event_types: vec!["film.*".parse().unwrap()], from: Some(at), to: at },
        rate: 7,
        dry_run: true,
        state: JobState::Running,
        reason: Some("why".to_owned()),
        progress: JobProgress {
            cursor: Some(Cursor::Event(domain::id::EventId::from_parts(at, 3))),
            looked_at: 5,
            sent: 4,
            next_at: at,
        },
        created_at: at,
        created_by: "ada".to_owned(),
        updated_at: at,
    };
    let item = to_item(&JobItem::from(written.clone())).unwrap();
    let due = DueJob::from_item(&item).unwrap();
    assert_eq!((&due.tenant, due.id, due.seen_lane_at), (&written.tenant, written.id, at.as_millisecond()));
    assert_eq!(job(item).unwrap(), written);
}
