/** Which admin port is meant, and with which token. */
import type { AdminSettings } from '../contract/settings.ts';
import type { AdminTarget } from './admin-client.ts';

/** What the command line says about the admin port; null: nothing. */
interface Given {
  adminUrl: string | null;
  token: string | null;
}

/**
 * findTarget takes --admin, else the configuration; or gives lines about what is wrong. With --admin the configuration is
 * not read: it may be another machine's.
 */
export async function findTarget(
  { adminUrl, token }: Given,
  configPath: string,
  env: NodeJS.ProcessEnv,
): Promise<AdminTarget | { problems: string[] }> {
  if (adminUrl !== null) {
    const url = originOf(adminUrl);
    if (url === null)
      return { problems: [`sluice: --admin must be a URL like http://127.0.0.1:9900, not ${adminUrl}`] };
    return { url, token: token ?? (env.SLUICE_ADMIN_TOKEN || null) };
  }
  const { loadAdmin } = await import('../config/load.ts');
  const { formatProblems } = await import('../config/problems.ts');
  const loaded = loadAdmin(configPath, env, token);
  if ('problems' in loaded) return { problems: formatProblems(configPath, loaded.problems) };
  if (loaded.admin.port === 0)
    return { problems: [`sluice: admin.address of ${configPath} asks for any free port: give --admin URL`] };
  return { url: await urlOf(loaded.admin), token: loaded.admin.token };
}

function originOf(text: string): string | null {
  const url = URL.parse(text);
  if (url === null || !/^https?:$/.test(url.protocol) || url.pathname !== '/' || url.search !== '')
    return null;
  return url.username === '' && url.password === '' && url.hash === '' ? url.origin : null;
}

/** A wildcard address is reached at loopback from this machine. */
async function urlOf({ host, port }: Pick<AdminSettings, 'host' | 'port'>): Promise<string> {
  const { hostPort } = await import('../contract/addresses.ts');
  const reached: Record<string, string> = { '0.0.0.0': '127.0.0.1', '::': '::1' };
  return `http://${hostPort(reached[host] ?? host, port)}`;
}
