/** What the calls of `/api/v1/config` answer that compare the running configuration with the file, or check the file. */
import * as z from 'zod';

const fileProblem = z.strictObject({
  line: z.int().nullable().meta({ description: 'Line of the file; null: of no single line' }),
  /** As in `pools.app.backends[0].url`. */
  path: z.string().nullable(),
  /** Without a full stop. It never contains a value that may be a secret. */
  message: z.string(),
});
/** FileProblem is one mistake in a configuration file. The whole file has neither line nor path. */
export type FileProblem = z.infer<typeof fileProblem>;

const file = z.string().meta({ description: 'Path of the file, as Sluice was given it' });
const problems = z
  .array(fileProblem)
  .meta({ description: 'Why a reload would refuse the file; empty: it would not' });

export const checkView = z.strictObject({ file, ok: z.boolean(), problems, warnings: z.array(fileProblem) });
export type ConfigCheck = z.infer<typeof checkView>;

export const diffView = z.strictObject({
  file,
  same: z.boolean().meta({ description: 'A reload would change nothing' }),
  problems,
  needsRestart: z.boolean().meta({
    description: 'The file has no mistake, and `problems` are changes that a reload cannot make',
  }),
  changes: z.array(
    z.strictObject({
      path: z.string().meta({ description: 'Path in the file; for a removed entry, its old path' }),
      running: z.unknown().meta({ description: 'null: there is none' }),
      file: z.unknown().meta({ description: 'null: there is none. Defaults are filled in' }),
    }),
  ),
});
export type ConfigDiff = z.infer<typeof diffView>;
