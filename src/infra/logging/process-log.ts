/** The logs of a process: where they go, and in which form. A reload and SIGUSR1 change it while lines are written. */
import { LbError, toError } from '../../contract/errors.ts';
import type { LogSettings } from '../../contract/settings.ts';
import { type LineSink, openFileSink, openStdoutSink } from './line-sink.ts';
import { APPLICATION_LINES, LineWriter } from './line-writer.ts';
import { type Logger, makeLogger, shapeOf, warnInto } from './logger.ts';

export type LogOutput = Pick<LogSettings, 'level' | 'format' | 'file'>;

/** ProcessLog is made once by the main file of a process. Until configure is called, lines go to standard output as JSON. */
export class ProcessLog {
  readonly logger: Logger;
  readonly application = new LineWriter(APPLICATION_LINES);
  readonly #writers: Readonly<Record<string, LineWriter>>;
  #file: string | null = null;
  #isEcs = false;

  /** @param options fields: facts of every line of the application log; access: the writer of the access log, in a worker */
  constructor({ fields = {}, access }: { fields?: object; access?: LineWriter } = {}) {
    this.#writers = { application: this.application, ...(access && { access }) };
    this.logger = makeLogger({ level: 'info', format: 'json' }, { fields, out: this.application });
  }

  /** file is where lines go; null: to standard output. */
  get file(): string | null {
    return this.#file;
  }

  /** Whether access lines must come in the form of `ecs`: to make a line of another one costs ten times as much. */
  get isEcs(): boolean {
    return this.#isEcs;
  }

  /** attach sends to the log what Node.js warns of, and how many lines were lost; and it writes the last lines at the exit. */
  attach(): void {
    warnInto(this.logger);
    for (const [kind, writer] of Object.entries(this.#writers)) {
      writer.onDropsOver = (lines) => this.logger.warn({ kind, lines }, `${lines} log lines dropped`);
    }
    process.on('exit', () => {
      for (const writer of Object.values(this.#writers)) writer.flushSync();
    });
  }

  /** configure applies settings. Throws LbError log_file_failed, and changes nothing, where another file cannot be opened. */
  configure({ level, format, file }: LogOutput): void {
    if (file !== this.#file) this.#open(file);
    this.#file = file;
    this.logger.level = level;
    const shape = shapeOf(format, file === null);
    this.#isEcs = format === 'ecs';
    for (const [kind, writer] of Object.entries(this.#writers))
      writer.shape = this.#isEcs && kind === 'access' ? null : shape;
  }

  /** useIfPossible is configure for a process that lives on with the log that it has: a failure is logged there. */
  useIfPossible(output: LogOutput): void {
    try {
      this.configure(output);
    } catch (thrown) {
      this.logger.error({ err: toError(thrown) }, 'the new settings of the log cannot be applied');
    }
  }

  /** reopen opens the log file anew, after it was moved away. One that cannot be opened is logged, and the open one stays. */
  reopen(): void {
    if (this.#file === null) return;
    try {
      this.#open(this.#file);
      this.logger.debug({ file: this.#file }, 'log file reopened');
    } catch (thrown) {
      this.logger.error({ err: toError(thrown) }, 'the log file is not reopened, lines go where they went');
    }
  }

  #open(file: string | null): void {
    const opened: [LineWriter, LineSink][] = [];
    try {
      // All before the first is used: either every log moves or none.
      for (const writer of Object.values(this.#writers))
        opened.push([writer, file === null ? openStdoutSink() : openFileSink(file)]);
      for (const [writer, sink] of opened) writer.redirect(sink);
    } catch (cause) {
      for (const [, sink] of opened) sink.close?.();
      const message = `cannot open the log file ${file}: ${toError(cause).message}`;
      throw new LbError('log_file_failed', message, { cause });
    }
  }
}
