/** The reporter that run-tests.ts uses for each test file. It prints a line of JSON for every test that ends, and for each that says it was not tried. */
import { inspect } from 'node:util';

export interface TestLine {
  name: string;
  passed: boolean;
  skipped: boolean;
  suite: boolean;
  /** Line in the test file; 0: unknown. */
  line: number;
  /** What failed, ready to print; '' if the test passed, or only tests inside it failed. */
  failure: string;
  /** `not tried: …`: what this machine lacks; '' at the end of a test. */
  notTried: string;
}

interface TestEvent {
  type: string;
  data: {
    name: string;
    /** Of a diagnostic. */
    message?: string;
    line?: number;
    skip?: unknown;
    todo?: unknown;
    details?: { type?: string; error?: Error & { failureType?: string } };
  };
}

/** node loads the default export. */
export default async function* report(source: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const { type, data } of source) {
    const notTried =
      type === 'test:diagnostic' && data.message?.startsWith('not tried: ') ? data.message : '';
    if (type !== 'test:pass' && type !== 'test:fail' && notTried === '') continue;
    const error = data.details?.error;
    const line: TestLine = {
      name: data.name,
      passed: type === 'test:pass',
      skipped: data.skip !== undefined || data.todo !== undefined,
      suite: data.details?.type === 'suite',
      line: data.line ?? 0,
      failure:
        error === undefined || error.failureType === 'subtestsFailed'
          ? ''
          : inspect(error.cause instanceof Error ? error.cause : error, { depth: 5 }),
      notTried,
    };
    yield `${JSON.stringify(line)}\n`;
  }
}
