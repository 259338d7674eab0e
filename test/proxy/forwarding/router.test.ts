import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { RouteMatch } from '../../../src/contract/settings.ts';
import { Router, routingHost } from '../../../src/proxy/router.ts';

function routerOf(...matches: Partial<RouteMatch>[]): Router<number> {
  return new Router(
    matches.map((match, route) => ({ match: { host: null, path: null, methods: null, ...match }, route })),
  );
}

test('the first matching route wins, even if a later one is more specific', () => {
  const router = routerOf({ path: '/api/' }, { path: '/api/v1/' }, {});
  assert.equal(router.find('a', '/api/v1/x', 'GET'), 0);
  assert.equal(router.find('a', '/other', 'GET'), 2);
});

test('a path that ends in a slash is a prefix, any other is exact', () => {
  const router = routerOf({ path: '/api/' }, { path: '/health' });
  assert.equal(router.find('a', '/api/', 'GET'), 0);
  assert.equal(router.find('a', '/api', 'GET'), null);
  assert.equal(router.find('a', '/health', 'GET'), 1);
  assert.equal(router.find('a', '/health/', 'GET'), null);
  assert.equal(router.find('a', '/healthy', 'GET'), null);
});

test('*.example.com matches names below it at any depth and not the name itself', () => {
  const router = routerOf({ host: '*.example.com' });
  assert.equal(router.find('a.example.com', '/', 'GET'), 0);
  assert.equal(router.find('b.a.example.com', '/', 'GET'), 0);
  assert.equal(router.find('example.com', '/', 'GET'), null);
  assert.equal(router.find('.example.com', '/', 'GET'), null);
  assert.equal(router.find('badexample.com', '/', 'GET'), null);
});

test('a route that excludes the method is skipped, and its allowed methods are reported', () => {
  const router = routerOf(
    { path: '/a', methods: ['GET'] },
    { path: '/a', methods: ['PUT', 'GET'] },
    { path: '/b' },
  );
  assert.equal(router.find('h', '/a', 'PUT'), 1);
  assert.equal(router.find('h', '/a', 'POST'), null);
  assert.deepEqual(router.allowedMethods('h', '/a'), ['GET', 'PUT']);
  assert.deepEqual(router.allowedMethods('h', '/c'), []);
});

test('hosts are compared without case, port and final dot', () => {
  assert.equal(routingHost('Www.Example.COM:8080'), 'www.example.com');
  assert.equal(routingHost('example.com.'), 'example.com');
  assert.equal(routingHost('[::1]:80'), '[::1]');
  assert.equal(routingHost('[::1]'), '[::1]');
  assert.equal(routingHost(''), '');
});
