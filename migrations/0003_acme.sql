-- ACME: accounts at certificate authorities, certificates with their private keys, and what machines must know while one of them has an order.

-- Up Migration

-- All tables belong to the primaries of the machines that share the database. directory: URL of the authority.
create table acme_accounts (
  directory text primary key,
  key_pem text not null
);

-- pem: private key, certificate and chain; null until there is one. version: another one with each pem.
-- failures: failed orders in a row, the one that is under way included. No machine tries again before not_before.
create table acme_certificates (
  directory text not null,
  name text not null,
  pem text,
  version bigint generated always as identity,
  failures integer not null default 0,
  not_before timestamptz not null default clock_timestamp(),
  primary key (directory, name)
);

-- What an authority asks any machine for, and the answer. A row that was left behind expires.
create table acme_challenges (
  token text primary key,
  key_authorization text not null,
  expires_at timestamptz not null
);

-- The machines that answer challenges, and the tokens that all of their workers know. A machine that is gone leaves its row behind.
create table acme_machines (
  machine text primary key,
  tokens text[] not null,
  seen_at timestamptz not null
);

-- Down Migration

drop table acme_accounts;
drop table acme_certificates;
drop table acme_challenges;
drop table acme_machines;
