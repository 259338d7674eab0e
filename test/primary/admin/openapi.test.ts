import assert from 'node:assert/strict';
import { test } from 'node:test';
import { type Json, startAdmin } from './harness.ts';

type Node = { [key: string]: Json };

const ROUTES = [
  'GET /',
  'GET /livez',
  'GET /readyz',
  'GET /metrics',
  'GET /openapi.json',
  'GET /api/v1/session',
  'GET /api/v1/audit',
  'GET /api/v1/audit/requests',
  'GET /api/v1/clients',
  'POST /api/v1/clients',
  'GET /api/v1/clients/{clientId}',
  'GET /api/v1/clients/{clientId}/bucket',
  'POST /api/v1/clients/{clientId}/bucket/reset',
  'POST /api/v1/clients/{clientId}/keys',
  'GET /api/v1/clients/{clientId}/keys',
  'DELETE /api/v1/clients/{clientId}/keys/{keyId}',
  'PUT /api/v1/clients/{clientId}',
  'PATCH /api/v1/clients/{clientId}',
  'DELETE /api/v1/clients/{clientId}',
  'GET /api/v1/status',
  'GET /api/v1/history',
  'GET /api/v1/events',
  'GET /api/v1/pools',
  'POST /api/v1/pools/{pool}/backends/{id}/drain',
  'POST /api/v1/pools/{pool}/backends/{id}/enable',
  'GET /api/v1/tunnels',
  'POST /api/v1/explain',
  'GET /api/v1/top',
  'GET /api/v1/requests',
  'GET /api/v1/workers',
  'POST /api/v1/reload',
  'POST /api/v1/workers/restart',
  'GET /api/v1/config',
  'GET /api/v1/config/diff',
  'POST /api/v1/config/check',
  'GET /api/v1/log-level',
  'PUT /api/v1/log-level',
];

const METHODS = new Set(['get', 'put', 'post', 'delete', 'options', 'head', 'patch', 'trace']);

function nodeAt(root: Json, ...path: string[]): Node {
  let at: Json | undefined = root;
  for (const key of path) {
    assert.ok(
      typeof at === 'object' && at !== null && !Array.isArray(at),
      `no ${key} of ${path.join(' > ')}`,
    );
    at = at[key];
  }
  assert.ok(typeof at === 'object' && at !== null && !Array.isArray(at), `no ${path.join(' > ')}`);
  return at;
}

function bodySchema(document: Json, method: string, path: string): Node {
  return nodeAt(document, 'paths', path, method, 'requestBody', 'content', 'application/json', 'schema');
}

test('the description is valid OpenAPI 3.1 and lists every route with its parameters and answers', async (t) => {
  const { call } = await startAdmin(t);
  const { json, status } = await call({ path: '/openapi.json' });
  assert.equal(status, 200);
  assert.match(String(nodeAt(json).openapi), /^3\.1\.\d+$/);
  const info = nodeAt(json, 'info');
  assert.ok(typeof info.title === 'string' && typeof info.version === 'string');
  const listed: string[] = [];
  for (const [path, item] of Object.entries(nodeAt(json, 'paths'))) {
    assert.match(path, /^\//);
    for (const [method, operation] of Object.entries(nodeAt(item))) {
      assert.ok(METHODS.has(method), method);
      listed.push(`${method.toUpperCase()} ${path}`);
      checkOperation(path, nodeAt(operation));
    }
  }
  assert.deepEqual(listed.sort(), [...ROUTES].sort());
  assert.equal(nodeAt(json, 'components', 'securitySchemes', 'token').scheme, 'bearer');
  assert.doesNotMatch(JSON.stringify(json), /"\$ref"|"\$schema"|~standard/);
});

/** Path parameters are declared, every answer has a description, and every body a schema. */
function checkOperation(path: string, operation: Node): void {
  const parameters = Array.isArray(operation.parameters)
    ? operation.parameters.map((each) => nodeAt(each))
    : [];
  const declared = parameters.filter((each) => each.in === 'path').map((each) => `{${String(each.name)}}`);
  assert.deepEqual(declared.sort(), (path.match(/\{[^}]+\}/g) ?? []).sort(), path);
  for (const each of parameters) {
    assert.ok(typeof each.name === 'string' && typeof each.schema === 'object');
    if (each.in === 'path') assert.equal(each.required, true);
  }
  const responses = Object.entries(nodeAt(operation, 'responses'));
  assert.ok(responses.length > 0, path);
  for (const [status, response] of responses) {
    assert.match(status, /^[2-5]\d\d$/);
    assert.equal(typeof nodeAt(response).description, 'string');
    if (Number(status) >= 400 && path !== '/readyz') {
      assert.equal(nodeAt(response, 'content', 'application/problem+json', 'schema').type, 'object');
    }
  }
  assert.ok(typeof operation.summary === 'string' && operation.summary !== '');
}

test('the description contains the constraints that bodies must meet', async (t) => {
  const { call } = await startAdmin(t);
  const { json } = await call({ path: '/openapi.json' });
  const create = bodySchema(json, 'post', '/api/v1/clients');
  assert.equal(create.additionalProperties, false);
  assert.deepEqual(create.required, ['clientId']);
  const { clientId, mode, capacity, refillPerSecond, limits } = nodeAt(create, 'properties');
  assert.equal(nodeAt(clientId ?? null).pattern, '^[A-Za-z0-9._:@/-]{1,128}$');
  assert.deepEqual(nodeAt(mode ?? null).enum, ['limit', 'unlimited', 'blocked']);
  assert.equal(nodeAt(mode ?? null).default, 'limit');
  assert.match(JSON.stringify(capacity), /"type":"integer".*"minimum":1,"maximum":1000000000/);
  assert.match(JSON.stringify(refillPerSecond), /"type":"number","minimum":0.000001,"maximum":1000000000/);
  const own = nodeAt(limits ?? null, 'additionalProperties');
  assert.deepEqual([own.additionalProperties, own.required], [false, ['capacity', 'refillPerSecond']]);
  for (const method of ['put', 'patch']) {
    const body = bodySchema(json, method, '/api/v1/clients/{clientId}');
    assert.equal(body.additionalProperties, false);
    assert.equal(body.required, undefined);
  }
  const needed = ['/api/v1/clients', '/api/v1/clients/{clientId}/keys'].map(
    (path) => nodeAt(json, 'paths', path, 'post', 'requestBody').required,
  );
  assert.deepEqual(needed, [true, false], 'a key can be issued without a body');
  const operation = nodeAt(json, 'paths', '/api/v1/clients', 'get');
  const query = (operation.parameters as Node[]).find((each) => each.name === 'limit');
  const { type, minimum, maximum, default: fallback } = nodeAt(query?.schema ?? null);
  assert.deepEqual([type, minimum, maximum, fallback, query?.required], ['integer', 1, 1000, 100, false]);
  const states = JSON.stringify(nodeAt(json, 'paths', '/api/v1/pools', 'get', 'responses', '200'));
  assert.match(states, /"enum":\["up","down","ejected","draining","unknown"\]/);
});
