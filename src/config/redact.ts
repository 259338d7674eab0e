/** The configuration as it may be shown. */
import type { Settings } from '../contract/settings.ts';

const HIDDEN = '***';

/** redactedConfig is a copy of the settings without tokens and passwords; for `GET /api/v1/config` and logs. */
export function redactedConfig(settings: Settings): Settings {
  const { admin, redis, database, secrets } = settings;
  return {
    ...settings,
    admin: { ...admin, token: admin.token === null ? null : HIDDEN },
    redis: redis === null ? null : { ...redis, url: withoutSecrets(redis.url) },
    database: { ...database, url: database.url === null ? null : withoutSecrets(database.url) },
    secrets: { apiKeys: secrets.apiKeys === null ? null : HIDDEN },
  };
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
