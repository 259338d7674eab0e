-- Clients: callers whose limits differ from the policies', who are unlimited, or who are blocked.

-- Up Migration

create table sluice_schema (
  only_row boolean primary key default true check (only_row),
  oldest_reader integer not null
);
comment on table sluice_schema is 'oldest_reader: the number of the oldest migration a program may end with and still work here';
insert into sluice_schema (oldest_reader) values (1);

-- Limits per policy: {"policy": {"capacity": integer 1…1e9, "refillPerSecond": 1e-6…1e9}}; a bucket is full within 30 days.
-- The policy "default" is not in it: the columns capacity and refill_per_second hold its limits.
create function sluice_limits_fit(limits jsonb) returns boolean
  language sql immutable strict parallel safe
  as $$
    select case
      when jsonb_typeof(limits) <> 'object' or limits ? 'default' then false
      else coalesce((
        select bool_and(case
          when jsonb_typeof(value) = 'object'
            and jsonb_typeof(value -> 'capacity') = 'number'
            and jsonb_typeof(value -> 'refillPerSecond') = 'number'
            and (value - 'capacity' - 'refillPerSecond') = '{}'::jsonb
          then (value ->> 'capacity')::numeric between 1 and 1000000000
            and (value ->> 'capacity')::numeric = trunc((value ->> 'capacity')::numeric)
            and (value ->> 'refillPerSecond')::numeric between 0.000001 and 1000000000
            and (value ->> 'capacity')::float8 / nullif((value ->> 'refillPerSecond')::float8, 0) <= 2592000
          else false
        end)
        from jsonb_each(limits)
      ), true)
    end
  $$;

-- version_us: the time of the last change in µs since the epoch. It never decreases for one client_id, not even over a
-- deletion. In every store of buckets the newest version of a client's limits wins.
-- changed_xid: the transaction of the last change. Readers ask for rows "changed by a transaction that was not finished at
-- my last look". That misses nothing however late a transaction commits; a time stamp cannot promise it.
create table clients (
  client_id text collate "C" primary key
    constraint clients_client_id_fits check (char_length(client_id) between 1 and 128),
  mode text not null default 'limit'
    constraint clients_mode_fits check (mode in ('limit', 'unlimited', 'blocked')),
  capacity integer
    constraint clients_capacity_fits check (capacity between 1 and 1000000000),
  refill_per_second double precision
    constraint clients_refill_fits check (refill_per_second between 0.000001 and 1000000000),
  limits jsonb not null default '{}'
    constraint clients_limits_fit check (sluice_limits_fit(limits)),
  created_at timestamptz not null default clock_timestamp(),
  updated_at timestamptz not null default clock_timestamp(),
  version_us bigint not null,
  changed_xid xid8 not null,
  constraint clients_both_or_neither check ((capacity is null) = (refill_per_second is null)),
  constraint clients_full_in_30_days check (capacity / nullif(refill_per_second, 0) <= 2592000),
  constraint clients_limits_size check (octet_length(limits::text) <= 65536)
);
create index clients_changed_xid on clients (changed_xid);

-- The last version of a deleted client is kept until no bucket of it can exist any more (31 days).
create table client_tombstones (
  client_id text collate "C" primary key,
  version_us bigint not null,
  changed_xid xid8 not null
);
create index client_tombstones_changed_xid on client_tombstones (changed_xid);
create index client_tombstones_version_us on client_tombstones (version_us);

create function sluice_now_us() returns bigint
  language sql volatile
  as $$ select (extract(epoch from clock_timestamp()) * 1000000)::bigint $$;

create function sluice_client_stamp() returns trigger
  language plpgsql
  as $$
  declare
    previous_us bigint;
  begin
    if tg_op = 'INSERT' then
      select version_us into previous_us from client_tombstones where client_id = new.client_id;
      new.created_at := clock_timestamp();
      new.updated_at := new.created_at;
    else
      if new.client_id <> old.client_id then
        raise exception 'client_id cannot be changed; delete the client and create another'
          using errcode = 'check_violation', constraint = 'clients_client_id_fits';
      end if;
      previous_us := greatest(old.version_us, new.version_us - 1);
      new.created_at := old.created_at;
      new.updated_at := clock_timestamp();
    end if;
    new.version_us := greatest(sluice_now_us(), coalesce(previous_us, 0) + 1);
    new.changed_xid := pg_current_xact_id();
    return new;
  end
  $$;

-- This runs after the insert: only then has a concurrent deletion of the same id committed, and its tombstone is visible.
create function sluice_client_revived() returns trigger
  language plpgsql
  as $$
  declare
    buried_us bigint;
  begin
    delete from client_tombstones where client_id = new.client_id returning version_us into buried_us;
    if buried_us >= new.version_us then
      update clients set version_us = buried_us + 1 where client_id = new.client_id;
    end if;
    return null;
  end
  $$;

create function sluice_client_buried() returns trigger
  language plpgsql
  as $$
  begin
    insert into client_tombstones as t (client_id, version_us, changed_xid)
      values (old.client_id, greatest(sluice_now_us(), old.version_us + 1), pg_current_xact_id())
      on conflict (client_id) do update
        set version_us = greatest(excluded.version_us, t.version_us + 1), changed_xid = excluded.changed_xid;
    return null;
  end
  $$;

create function sluice_clients_buried() returns trigger
  language plpgsql
  as $$
  begin
    insert into client_tombstones as t (client_id, version_us, changed_xid)
      select client_id, greatest(sluice_now_us(), version_us + 1), pg_current_xact_id() from clients
      on conflict (client_id) do update
        set version_us = greatest(excluded.version_us, t.version_us + 1), changed_xid = excluded.changed_xid;
    return null;
  end
  $$;

create function sluice_clients_changed() returns trigger
  language plpgsql
  as $$
  begin
    perform pg_notify('sluice_clients', '');
    return null;
  end
  $$;

create trigger clients_stamp before insert or update on clients
  for each row execute function sluice_client_stamp();
create trigger clients_revived after insert on clients
  for each row execute function sluice_client_revived();
create trigger clients_buried after delete on clients
  for each row execute function sluice_client_buried();
create trigger clients_all_buried before truncate on clients
  for each statement execute function sluice_clients_buried();
create trigger clients_changed after insert or update or delete or truncate on clients
  for each statement execute function sluice_clients_changed();

-- Down Migration

drop table clients;
drop table client_tombstones;
drop function sluice_client_stamp();
drop function sluice_client_revived();
drop function sluice_client_buried();
drop function sluice_clients_buried();
drop function sluice_clients_changed();
drop function sluice_now_us();
drop function sluice_limits_fit(jsonb);
drop table sluice_schema;
