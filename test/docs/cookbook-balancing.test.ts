/** docs/cookbook: which server gets a request. */
import { test } from 'node:test';
import { checkOthers } from './other-programs.ts';
import { serveRecipe } from './recipe.ts';

for (const name of ['load-balance', 'weights', 'least-requests', 'hosts-and-paths', 'reads-and-writes'])
  test(`cookbook: ${name}`, async (t) => {
    await serveRecipe(t, name);
    await checkOthers(t, name);
  });
