/** The reporter that run-tests.ts gives to each test file: one JSON line for every test that ended. */
import { inspect } from 'node:util';

export interface TestLine {
  name: string;
  passed: boolean;
  skipped: boolean;
  suite: boolean;
  /** Line in the test file, 0 if unknown. */
  line: number;
  /** What failed, ready to print; '' if it passed, or if only tests inside it failed. */
  failure: string;
}

interface TestEvent {
  type: string;
  data: {
    name: string;
    line?: number;
    skip?: unknown;
    todo?: unknown;
    details: { type?: string; error?: Error & { failureType?: string } };
  };
}

/** The default export is what `node --test-reporter` wants. */
export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const { type, data } of source) {
    if (type !== 'test:pass' && type !== 'test:fail') continue;
    const error = data.details.error;
    const line: TestLine = {
      name: data.name,
      passed: type === 'test:pass',
      skipped: data.skip !== undefined || data.todo !== undefined,
      suite: data.details.type === 'suite',
      line: data.line ?? 0,
      failure:
        error === undefined || error.failureType === 'subtestsFailed'
          ? ''
          : inspect(error.cause instanceof Error ? error.cause : error, { depth: 5 }),
    };
    yield `${JSON.stringify(line)}\n`;
  }
}
