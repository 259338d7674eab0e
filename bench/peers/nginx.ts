/** nginx, plain and with token buckets in Redis through its Lua module: with a lean script, and with the script of Sluice. */
import { chmodSync, copyFileSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { freePort } from '../../test/support/free-port.ts';
import { makeCertificate } from '../rig/certificate.ts';
import { launch, type ServerProcess, serverOf, untilServes } from '../rig/process.ts';
import { commandLine } from '../rig/record.ts';
import { fillTemplate } from '../rig/templates.ts';
import { findProgram, versionOf } from '../rig/tools.ts';
import type { Peer, PeerOptions } from './peer.ts';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
const TAKE_SCRIPT = new URL('../../lua/take-tokens-n.lua', import.meta.url);
const REDIS_CALLS = 'nginx-limiter-redis.lua';
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

export const nginxLua = limitingNginx('nginx-lua-redis', 'nginx-limiter.lua');
export const nginxLuaOurs = limitingNginx('nginx-lua-redis-ours', 'nginx-limiter-ours.lua');

/** @param source of the Lua module that checks a request */
function limitingNginx(name: string, source: string): Peer {
  return {
    name,
    can: { workers: true, accessLog: true, limiter: true },
    missing() {
      if (nginx.missing() !== '') return nginx.missing();
      if (!LUA_MODULES.every((module) => existsSync(join(MODULES, module))))
        return 'libnginx-mod-http-lua is not installed';
      return redisLibrary() === undefined ? 'lua-nginx-redis is not installed' : '';
    },
    version: nginx.version,
    start(folder, options) {
      if (options.redisPort !== null) writeLimiter(folder, source, options.redisPort);
      return startNginx(name, folder, options, {
        MODULES: LUA_MODULES.map((module) => `load_module ${join(MODULES, module)};`).join('\n'),
        HTTP: `lua_package_path "${folder}/?.lua;/usr/share/lua/5.1/?.lua;;";`,
        LOCATION: options.redisPort === null ? '' : CHECK,
      });
    },
  };
}

/** The caller's address comes from the same field that Sluice trusts. */
const CHECK = `set_real_ip_from 127.0.0.0/8;
      real_ip_header X-Forwarded-For;
      access_by_lua_block { require('limiter')() }`;

function redisLibrary(): string | undefined {
  return REDIS_LIBRARIES.find((path) => existsSync(path));
}

/** The scripts are modules, because nginx loads those once, but Lua code in the configuration for every request. */
function writeLimiter(folder: string, source: string, redisPort: number): void {
  // A copy, because nginx may serve as a user without access to the checkout.
  const script = join(folder, 'take-tokens-n.lua');
  copyFileSync(TAKE_SCRIPT, script);
  const values = {
    REDIS_PORT: redisPort,
    LIBRARY: redisLibrary()?.includes('/nginx/') === true ? 'nginx.redis' : 'resty.redis',
    SCRIPT: script,
  };
  fillTemplate(new URL(source, import.meta.url), join(folder, 'limiter.lua'), values);
  fillTemplate(new URL(REDIS_CALLS, import.meta.url), join(folder, 'limiter-redis.lua'), values);
}

/** The same for proxy_pass and grpc_pass. */
const FORWARDED = [
  'Host $http_host',
  'X-Forwarded-For $remote_addr',
  'X-Forwarded-Proto $scheme',
  'X-Forwarded-Host $http_host',
  'X-Real-IP $remote_addr',
  'X-Request-Id $request_id',
  'Via "1.1 nginx"',
];

const PROXY_PASS = `proxy_pass http://app;
      proxy_http_version 1.1;
      proxy_request_buffering off;
      proxy_buffer_size 16k;
      proxy_buffers 8 64k;
      proxy_busy_buffers_size 128k;
      proxy_max_temp_file_size 0;
      proxy_set_header Connection "";`;

function tlsLines(folder: string): string {
  const { cert, key } = makeCertificate(folder);
  return `http2 on;
    ssl_certificate ${cert};
    ssl_certificate_key ${key};
    ssl_protocols TLSv1.3;`;
}

async function startNginx(
  name: string,
  folder: string,
  { backendPorts, workers, accessLog, tls, grpc }: PeerOptions,
  parts: Record<'MODULES' | 'HTTP' | 'LOCATION', string>,
): Promise<ServerProcess> {
  const program = findProgram('nginx') ?? 'nginx';
  const port = await freePort();
  // An nginx started by root serves as another user.
  chmodSync(folder, 0o755);
  const config = join(folder, `${name}.conf`);
  fillTemplate(new URL('nginx.conf', import.meta.url), config, {
    ...parts,
    PORT: port,
    TLS: tls ? ' ssl' : '',
    CERTIFICATE: tls ? tlsLines(folder) : '',
    FORWARDED: FORWARDED.map((each) => `${grpc ? 'grpc' : 'proxy'}_set_header ${each};`).join('\n      '),
    PASS: grpc ? 'grpc_pass grpc://app;' : PROXY_PASS,
    WORKERS: workers,
    ACCESS_LOG: accessLog ? 'access.log json buffer=64k flush=1s' : 'off',
    BACKENDS: backendPorts.map((backend) => `server 127.0.0.1:${backend};`).join('\n    '),
  });
  const args = ['-p', folder, '-c', config, '-e', 'stderr'];
  const child = launch({ name, folder, command: program, args });
  const facts = { name, folder, port, command: commandLine(program, args, { ROOT, folder }), tls };
  await untilServes(child, facts, '/tiny');
  return serverOf(child, facts);
}
