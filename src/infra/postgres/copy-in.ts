import pg from 'pg';

/** What pg's types leave out of a connection. */
interface CopyConnection {
  sendCopyFromChunk(chunk: Buffer): void;
  endCopyFrom(): void;
}

const CHUNK_BYTES = 65_536;

/**
 * CopyIn is a `copy … from stdin` whose rows are all there: pg's own query sends them in place of refusing to. Called by Database.copy.
 * pg-copy-streams is made for streams, and throws from an event where the server refuses a row before all of them were sent.
 */
class CopyIn extends pg.Query {
  readonly #rows: Buffer;

  constructor(text: string, rows: Buffer, callback: (error: Error | undefined) => void) {
    super(text, callback);
    this.#rows = rows;
  }

  /** pg calls it once the server asks for rows. */
  handleCopyInResponse(connection: CopyConnection): void {
    // The server looks at its time-out between two of them, not within one.
    for (let at = 0; at < this.#rows.length; at += CHUNK_BYTES)
      connection.sendCopyFromChunk(this.#rows.subarray(at, at + CHUNK_BYTES));
    connection.endCopyFrom();
  }
}

/** copyIn rejects as client.query does. @param rows in the format that the text names */
export function copyIn(client: pg.PoolClient, text: string, rows: string): Promise<void> {
  return new Promise((resolve, reject) => {
    client.query(new CopyIn(text, Buffer.from(rows), (error) => (error ? reject(error) : resolve())));
  });
}
