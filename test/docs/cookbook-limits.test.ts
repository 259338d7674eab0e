/** docs/cookbook: limits of clients. */
import { test } from 'node:test';
import { startRedis } from '../support/redis.ts';
import { checkOthers } from './other-programs.ts';
import { type RecipeOptions, serveRecipe } from './recipe.ts';

const RECIPES: Record<string, RecipeOptions> = {
  'limit-by-address': {},
  'api-keys': { data: 'made' },
  login: {},
  quotas: {},
  shadow: {},
  uploads: {},
};

for (const [name, options] of Object.entries(RECIPES))
  test(`cookbook: ${name}`, async (t) => {
    await serveRecipe(t, name, options);
    await checkOthers(t, name);
  });

test('cookbook: shared-limits', async (t) => {
  const redis = await startRedis();
  t.after(() => redis.stop());
  await serveRecipe(t, 'shared-limits', {
    places: [['redis://10.0.0.50:6379', redis.url]],
    warnings: ['without database.url each instance has clients of its own'],
  });
  await checkOthers(t, 'shared-limits');
});
