-- The audit of requests (`audit.requests`): those that a limit refused, or all; a partition per day.

-- Up Migration

-- The primaries write it, by COPY, with what their workers have made. The columns are the fields of an access line.
-- instance, number: make a row the only one of its millisecond, so a batch that is sent twice is written once.
-- A primary makes and drops the partitions, audit_requests_YYYYMMDD, as those of audit.
create table audit_requests (
  at timestamptz not null,
  instance text not null,
  number bigint not null,
  request_id text not null,
  client_ip text not null,
  client_id text,
  method text,
  host text,
  path text,
  status smallint not null,
  reason text not null,
  bytes_in bigint not null,
  bytes_out bigint not null,
  total_ms real not null,
  backend text,
  route text,
  policies text[],
  primary key (at, instance, number)
) partition by range (at);

-- An address, or `unix:`. As inet it also serves ranges.
create index audit_requests_client_ip on audit_requests ((nullif(client_ip, 'unix:')::inet), at, instance, number);
create index audit_requests_client_id on audit_requests (client_id, at, instance, number) where client_id is not null;
create index audit_requests_status on audit_requests (status, at, instance, number) where status >= 400;

-- Down Migration

drop table audit_requests;
