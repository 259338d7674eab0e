import { ACCESS_LINES, LineWriter } from '../infra/logging/line-writer.ts';
import { accessLine } from '../proxy/access-log.ts';
import type { AccessRecord } from '../proxy/access-record.ts';
import { ecsAccessLine } from '../proxy/ecs-access-line.ts';

/**
 * AccessLines writes a line for each request, in the form that the log has when the request ends: requests of older plans must not mix
 * another form into its file. Made once, by the worker's main.
 */
export class AccessLines {
  /** For ProcessLog, which says where the lines go. */
  readonly writer = new LineWriter(ACCESS_LINES);
  #encode = accessLine;

  /** useForm is called whenever the writer may have been configured anew. */
  useForm({ isEcs }: { isEcs: boolean }): void {
    this.#encode = isEcs ? ecsAccessLine : accessLine;
  }

  write(record: AccessRecord): void {
    this.writer.write(this.#encode(record));
  }
}
