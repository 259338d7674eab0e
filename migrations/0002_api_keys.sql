-- API keys: a caller proves with one that it is a client, whatever its address. Only an HMAC of a key is stored.

-- Up Migration

-- digest: HMAC-SHA-256 of the key under the secret of the machines (secrets.apiKeys). Nobody can make a key from this table.
-- secret_id: names the secret, so that a machine with another one can say why it refuses a key.
-- key_id: begins with the time of creation, so that it orders the list of a client's keys.
-- changed_xid: see clients (0001).
create table api_keys (
  key_id text collate "C" primary key
    constraint api_keys_key_id_fits check (key_id ~ '^[0-9a-f]{24}$'),
  client_id text collate "C" not null
    constraint api_keys_client references clients (client_id) on delete cascade,
  name text
    constraint api_keys_name_fits check (char_length(name) between 1 and 128),
  digest bytea not null
    constraint api_keys_digest_fits check (octet_length(digest) = 32)
    constraint api_keys_digest_once unique,
  secret_id text not null
    constraint api_keys_secret_id_fits check (char_length(secret_id) between 1 and 64),
  created_at timestamptz not null default clock_timestamp(),
  changed_xid xid8 not null
);
create index api_keys_client_id on api_keys (client_id, key_id);
create index api_keys_changed_xid on api_keys (changed_xid);

-- Keys that were revoked or deleted with their client. Readers that ask only for changes need them; dropped after 31 days.
create table api_key_tombstones (
  digest bytea primary key,
  deleted_at timestamptz not null,
  changed_xid xid8 not null
);
create index api_key_tombstones_changed_xid on api_key_tombstones (changed_xid);
create index api_key_tombstones_deleted_at on api_key_tombstones (deleted_at);

create function sluice_api_key_stamp() returns trigger
  language plpgsql
  as $$
  begin
    if tg_op = 'UPDATE' and (new.key_id, new.digest) is distinct from (old.key_id, old.digest) then
      raise exception 'a key cannot be changed; revoke it and issue another'
        using errcode = 'check_violation', constraint = 'api_keys_digest_fits';
    end if;
    new.changed_xid := pg_current_xact_id();
    return new;
  end
  $$;

-- A key that is inserted again (from a backup) is valid again.
create function sluice_api_key_revived() returns trigger
  language plpgsql
  as $$
  begin
    delete from api_key_tombstones where digest = new.digest;
    return null;
  end
  $$;

create function sluice_api_key_buried() returns trigger
  language plpgsql
  as $$
  begin
    insert into api_key_tombstones as t (digest, deleted_at, changed_xid)
      values (old.digest, clock_timestamp(), pg_current_xact_id())
      on conflict (digest) do update set deleted_at = excluded.deleted_at, changed_xid = excluded.changed_xid;
    return null;
  end
  $$;

create function sluice_api_keys_buried() returns trigger
  language plpgsql
  as $$
  begin
    insert into api_key_tombstones as t (digest, deleted_at, changed_xid)
      select digest, clock_timestamp(), pg_current_xact_id() from api_keys
      on conflict (digest) do update set deleted_at = excluded.deleted_at, changed_xid = excluded.changed_xid;
    return null;
  end
  $$;

create function sluice_api_keys_changed() returns trigger
  language plpgsql
  as $$
  begin
    perform pg_notify('sluice_api_keys', '');
    return null;
  end
  $$;

create trigger api_keys_stamp before insert or update on api_keys
  for each row execute function sluice_api_key_stamp();
create trigger api_keys_revived after insert on api_keys
  for each row execute function sluice_api_key_revived();
create trigger api_keys_buried after delete on api_keys
  for each row execute function sluice_api_key_buried();
create trigger api_keys_all_buried before truncate on api_keys
  for each statement execute function sluice_api_keys_buried();
create trigger api_keys_changed after insert or update or delete or truncate on api_keys
  for each statement execute function sluice_api_keys_changed();

-- Down Migration

drop table api_keys;
drop table api_key_tombstones;
drop function sluice_api_key_stamp();
drop function sluice_api_key_revived();
drop function sluice_api_key_buried();
drop function sluice_api_keys_buried();
drop function sluice_api_keys_changed();
