/** docs/cookbook: servers that fail, hang, or are taken out. */
import type { RequestListener } from 'node:http';
import { test } from 'node:test';
import { checkOthers } from './other-programs.ts';
import { answerOf, type RecipeOptions, serveRecipe } from './recipe.ts';

const SECOND = '10.0.0.12:8080';

function failing(status: number): RequestListener {
  return (request, response) => {
    response.writeHead(request.url === '/health' ? 200 : status).end();
  };
}

function withHealth(address: string, text: string): RequestListener {
  const answer = answerOf(address);
  return (request, response) => (request.url === '/health' ? response.end(text) : answer(request, response));
}

const RECIPES: Record<string, RecipeOptions> = {
  'health-checks': {
    backends: {
      '10.0.0.11:8080': withHealth('10.0.0.11:8080', '{"database":"ok"}'),
      [SECOND]: withHealth(SECOND, '{"database":"gone"}'),
    },
  },
  retries: { backends: { [SECOND]: failing(503) } },
  ejections: { backends: { [SECOND]: failing(500) } },
  backup: { backends: { '10.0.0.11:8080': null } },
  drain: {},
  queue: {},
  timeouts: {},
};

for (const [name, options] of Object.entries(RECIPES))
  test(`cookbook: ${name}`, async (t) => {
    await serveRecipe(t, name, options);
    await checkOthers(t, name);
  });
