-- The audit: what has happened on the machines that share the database, and who has changed what; a partition per day.

-- Up Migration

-- The primaries write it. number: as in the event log of the primary; it rises, so a row that is sent twice is written once.
-- actor: who asked for it, by which token, and actor_address from where; null: nobody did.
-- A primary makes the partition of a day (UTC), audit_YYYYMMDD, before its first row of it, and drops those older than
-- its `audit.retention`.
create table audit (
  at timestamptz not null,
  instance text not null,
  number bigint not null,
  kind text not null,
  severity text not null,
  text text not null,
  subject text,
  actor text,
  actor_address text,
  request_id text,
  data jsonb not null,
  primary key (at, instance, number)
) partition by range (at);

create index audit_kind on audit (kind, at, instance, number);
create index audit_subject on audit (subject, at, instance, number) where subject is not null;
create index audit_actor on audit (actor, at, instance, number) where actor is not null;
create index audit_actor_address on audit (actor_address, at, instance, number) where actor_address is not null;

-- Down Migration

drop table audit;
