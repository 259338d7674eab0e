/** The configuration as it may be shown. */
import type { RedisServers, Settings } from '../contract/settings.ts';

const HIDDEN = '***';

/** redactedConfig is a copy of the settings without tokens and passwords; for `GET /api/v1/config` and logs. */
export function redactedConfig(settings: Settings): Settings {
  const { admin, redis, database, secrets } = settings;
  return {
    ...settings,
    admin: { ...admin, token: admin.token === null ? null : HIDDEN },
    redis: redis === null ? null : { ...redis, servers: shownServers(redis.servers) },
    database: { ...database, url: database.url === null ? null : withoutSecrets(database.url) },
    secrets: { apiKeys: secrets.apiKeys === null ? null : HIDDEN },
  };
}

function shownServers(servers: RedisServers): RedisServers {
  return servers.kind === 'single'
    ? { ...servers, url: withoutSecrets(servers.url) }
    : { ...servers, urls: servers.urls.map(withoutSecrets) };
}

const SECRET_PARAMETER = /pass|secret|token|key/i;

function withoutSecrets(text: string): string {
  const url = URL.parse(text);
  if (url === null) return HIDDEN;
  if (url.password !== '') url.password = HIDDEN;
  for (const name of [...url.searchParams.keys()]) {
    if (SECRET_PARAMETER.test(name)) url.searchParams.set(name, HIDDEN);
  }
  return url.href;
}
