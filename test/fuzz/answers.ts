/** Reads the answers in the request fuzzing. All of them have a Content-Length. */
export interface ClientAnswer {
  status: number;
  head: string;
  /** Value of X-Echo; -1: absent. */
  echo: number;
}

/** takeAnswers reads final answers in order. `whole` is false when bytes are left over or missing. */
export function takeAnswers(received: string): { answers: ClientAnswer[]; whole: boolean } {
  const answers: ClientAnswer[] = [];
  for (let at = 0; at < received.length; ) {
    const headEnd = received.indexOf('\r\n\r\n', at);
    const found = /^HTTP\/1\.1 (\d{3}) /.exec(received.slice(at, at + 13));
    if (headEnd < 0 || found === null) return { answers, whole: false };
    const head = received.slice(at, headEnd + 2);
    at = headEnd + 4;
    const status = Number(found[1]);
    if (status < 200) continue;
    const echo = Number(/\r\nX-Echo: (\d+)\r\n/.exec(head)?.[1] ?? -1);
    answers.push({ status, head, echo });
    const length = Number(/\r\nContent-Length: (\d+)\r\n/i.exec(head)?.[1] ?? Number.NaN);
    // The proxy's own answer to HEAD has a Content-Length without a body. It is the last answer.
    if (echo < 0 && at === received.length) return { answers, whole: true };
    if (Number.isNaN(length) || at + length > received.length) return { answers, whole: false };
    at += length;
  }
  return { answers, whole: true };
}
