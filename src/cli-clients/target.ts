/** Which admin port is meant, and with which token. */
import type { AdminSettings } from '../contract/settings.ts';
import type { AdminTarget } from './admin-client.ts';
import type { ClientsRequest } from './request.ts';

type Environment = Readonly<Record<string, string | undefined>>;

/**
 * findTarget takes --admin, else the configuration; or gives lines about what is wrong. With --admin the configuration is
 * not read: it may be another machine's.
 */
export async function findTarget(
  request: Pick<ClientsRequest, 'adminUrl' | 'token'>,
  configPath: string,
  env: Environment,
): Promise<AdminTarget | { problems: string[] }> {
  const { adminUrl, token } = request;
  if (adminUrl !== null) {
    const url = originOf(adminUrl);
    if (url === null)
      return { problems: [`sluice: --admin must be a URL like http://127.0.0.1:9900, not ${adminUrl}`] };
    return { url, token: token ?? (env.SLUICE_ADMIN_TOKEN || null) };
  }
  const { loadConfig } = await import('../config/load.ts');
  const { formatProblems } = await import('../config/problems.ts');
  const loaded = loadConfig(configPath, env);
  if ('problems' in loaded) return { problems: formatProblems(configPath, loaded.problems) };
  const { admin } = loaded.settings;
  if (admin.port === 0)
    return { problems: [`sluice: admin.address of ${configPath} has any free port: say --admin URL`] };
  return { url: urlOf(admin), token: token ?? admin.token };
}

function originOf(text: string): string | null {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.pathname !== '/' || url.search !== '')
    return null;
  return url.username === '' && url.password === '' && url.hash === '' ? url.origin : null;
}

/** From this machine, an address that stands for all is reached at loopback. */
function urlOf({ host, port }: AdminSettings): string {
  if (host === '0.0.0.0') return `http://127.0.0.1:${port}`;
  if (host === '::') return `http://[::1]:${port}`;
  return `http://${host.includes(':') ? `[${host}]` : host}:${port}`;
}
