-- The status of gRPC of the requests in the audit.

-- Up Migration

-- As grpcStatus of the access line; null also in rows of a version that does not know it.
alter table audit_requests add column grpc_status smallint;

-- Those that failed behind a status that says nothing of it: calls of gRPC, and answers that were cut.
-- `only`: each new partition has it. To build it on those that are there would lock the table for minutes; they fall after the retention.
create index audit_requests_failed on only audit_requests (at, instance, number)
  where status < 400 and (reason <> 'ok' or grpc_status > 0);

-- Down Migration

drop index audit_requests_failed;
alter table audit_requests drop column grpc_status;
