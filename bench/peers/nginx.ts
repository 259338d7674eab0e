/** nginx, plain and with a token bucket in Redis by its Lua module. */
import { chmodSync, existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/support/free-port.ts';
import { launch, type ServerProcess, serverOf, untilServes } from '../rig/process.ts';
import { commandLine } from '../rig/record.ts';
import { fillTemplate } from '../rig/templates.ts';
import { findProgram, versionOf } from '../rig/tools.ts';
import type { Peer, PeerOptions } from './peer.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const MODULES = '/usr/lib/nginx/modules';
const LUA_MODULES = ['ndk_http_module.so', 'ngx_http_lua_module.so'];
const REDIS_LIBRARIES = ['/usr/share/lua/5.1/nginx/redis.lua', '/usr/share/lua/5.1/resty/redis.lua'];

export const nginx: Peer = {
  name: 'nginx',
  can: { workers: true, accessLog: true, limiter: false },
  missing: () => (findProgram('nginx') === null ? 'nginx is not installed' : ''),
  version: () => versionOf(findProgram('nginx') ?? 'nginx', ['-v']),
  start: (folder, options) => startNginx('nginx', folder, options, { MODULES: '', HTTP: '', LOCATION: '' }),
};

export const nginxLua: Peer = {
  name: 'nginx-lua-redis',
  can: { workers: true, accessLog: true, limiter: true },
  missing() {
    if (nginx.missing() !== '') return nginx.missing();
    if (!LUA_MODULES.every((name) => existsSync(join(MODULES, name))))
      return 'libnginx-mod-http-lua is not installed';
    return redisLibrary() === undefined ? 'lua-nginx-redis is not installed' : '';
  },
  version: nginx.version,
  start: (folder, options) =>
    startNginx('nginx-lua-redis', folder, options, {
      MODULES: LUA_MODULES.map((name) => `load_module ${join(MODULES, name)};`).join('\n'),
      HTTP: 'lua_package_path "/usr/share/lua/5.1/?.lua;;";',
      LOCATION: options.redisPort === null ? '' : limiterBlock(options.redisPort),
    }),
};

function redisLibrary(): string | undefined {
  return REDIS_LIBRARIES.find((path) => existsSync(path));
}

/** The block goes into nginx's own syntax, where Lua needs no quoting. */
function limiterBlock(redisPort: number): string {
  const code = readFileSync(new URL('nginx-limiter.lua', import.meta.url), 'utf8');
  const library = redisLibrary()?.includes('/nginx/') === true ? 'nginx.redis' : 'resty.redis';
  return `access_by_lua_block {\n${code.replace('@REDIS_PORT@', String(redisPort)).replace('@LIBRARY@', library)}}`;
}

async function startNginx(
  name: string,
  folder: string,
  { backendPorts, workers, accessLog }: PeerOptions,
  parts: Record<'MODULES' | 'HTTP' | 'LOCATION', string>,
): Promise<ServerProcess> {
  const program = findProgram('nginx') ?? 'nginx';
  const port = await freePort();
  // nginx started by root serves as another user.
  chmodSync(folder, 0o755);
  const config = join(folder, `${name}.conf`);
  fillTemplate(new URL('nginx.conf', import.meta.url), config, {
    ...parts,
    PORT: port,
    WORKERS: workers,
    ACCESS_LOG: accessLog ? 'access.log json buffer=64k flush=1s' : 'off',
    BACKENDS: backendPorts.map((backend) => `server 127.0.0.1:${backend};`).join('\n    '),
  });
  const args = ['-p', folder, '-c', config, '-e', 'stderr'];
  const child = launch({ name, folder, command: program, args });
  const facts = { name, folder, port, command: commandLine(program, args, { ROOT, folder }) };
  await untilServes(child, facts, '/tiny');
  return serverOf(child, facts);
}
