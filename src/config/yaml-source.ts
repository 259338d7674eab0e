/** Reads the text of a file into plain values, each with the line of its key; replaces variables on the way. */
import {
  type Alias,
  type Document,
  isAlias,
  isMap,
  isNode,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseDocument,
  Scalar,
  type YAMLError,
} from 'yaml';
import type { FileProblem } from '../contract/config-file-view.ts';
import { type KeyPath, pathText } from './problems.ts';

/** Variables by name. */
export type Environment = Readonly<Record<string, string | undefined>>;

/** One slip can cause hundreds of complaints of the YAML parser; this many are shown. */
const MAX_SYNTAX_PROBLEMS = 10;
const STACK_EXHAUSTED = /call stack|Stack overflow/;
/** Values in one file, those that aliases repeat included: a few nested aliases can multiply to billions. */
const MAX_VALUES = 20_000;
const MAX_DEPTH = 32;

const TOO_DEEP = 'the file is nested too deeply';

/** YamlSource is a parsed file. Its mappings have no prototype. */
export interface YamlSource {
  value: unknown;
  problems: FileProblem[];
  /** Whether the value at a path could not be read; more complaints about it would only confuse. */
  failed(path: KeyPath): boolean;
  /** Line of the key at a path; for a missing key that of its nearest parent in the file. */
  lineOf(path: KeyPath): number | null;
}

const OPTIONS = {
  schema: 'core',
  merge: false,
  resolveKnownTags: false,
  uniqueKeys: false,
  prettyErrors: false,
} as const;

/** parseYaml reads a text; never throws. A text that is not YAML has problems and no value. */
export function parseYaml(text: string, env: Environment): YamlSource {
  try {
    return readYaml(text, env);
  } catch (thrown) {
    // The parser is recursive; it reports everything else as an error of the document.
    if (!(thrown instanceof RangeError)) throw thrown;
    return unreadable(TOO_DEEP);
  }
}

function readYaml(text: string, env: Environment): YamlSource {
  const lineCounter = new LineCounter();
  const document = parseDocument(text, { ...OPTIONS, lineCounter });
  const complaints = [...document.errors, ...document.warnings];
  // It also reports some exhaustions of the stack as errors of the document.
  if (complaints.some(({ message }) => STACK_EXHAUSTED.test(message))) return unreadable(TOO_DEEP);
  if (complaints.length > 0) {
    const shown = complaints.slice(0, MAX_SYNTAX_PROBLEMS);
    return failure(shown.map((error) => problemOf(error, lineCounter)));
  }
  const reader = new Reader(document, lineCounter, env);
  return reader.full ? failure(reader.problems.slice(-1)) : reader;
}

/** `$${` stands for a literal `${`. An escape, or anything that begins like a reference; INSIDE then checks what is between the braces. */
const REFERENCE = /\$\$\{|\$\{([^}]*)(\}?)/g;
const INSIDE = /^([A-Za-z_][A-Za-z0-9_]*)(?::-(.*))?$/s;

/**
 * substitute replaces every reference in the text of one scalar. As in a shell, the default also stands in for an empty
 * variable. It does not read the replacements again, so the value of a variable cannot bring in a reference.
 */
function substitute(text: string, env: Environment): { text: string } | { message: string } {
  let message: string | null = null;
  const replaced = text.replace(REFERENCE, (whole: string, inside?: string, closing?: string) => {
    if (inside === undefined) return '${';
    const [, name, fallback] = (closing !== '' && INSIDE.exec(inside)) || [];
    if (name === undefined)
      message ??= 'has a "${" without the name of a variable and a closing brace after it';
    else if (fallback?.includes('${'))
      message ??= `has a default of ${name} with a variable in it, which is not supported`;
    else if (fallback !== undefined) return env[name] || fallback;
    else if (env[name] === undefined) message ??= `the environment variable ${name} is not set`;
    else return env[name];
    return whole;
  });
  return message === null ? { text: replaced } : { message };
}

/** The value that an unquoted text has in a file: `4` is a number, `true` a boolean, nothing null. Never a list or a mapping. */
function typedAgain(text: string): unknown {
  const trimmed = text.trim();
  if (trimmed === '') return null;
  const { contents } = parseDocument(trimmed, OPTIONS);
  const isTyped = isScalar(contents) && contents.source === trimmed && typeof contents.value !== 'string';
  return isTyped ? contents.value : text;
}

/** unreadable is the source of a file that cannot be read at all. */
export function unreadable(message: string): YamlSource {
  return failure([{ line: null, path: null, message }]);
}

function failure(problems: FileProblem[]): YamlSource {
  return { value: undefined, problems, failed: () => true, lineOf: () => null };
}

/** In place of the parser's own messages, which quote the file and so perhaps a secret without its quotes. */
const OWN_MESSAGES: Readonly<Record<string, string>> = {
  MULTIPLE_DOCS: 'a second YAML document begins here, only one is allowed',
  TAG_RESOLVE_FAILED: 'not valid YAML: unknown tag (a value that begins with ! needs quotes)',
  BAD_COLLECTION_TYPE: 'not valid YAML: unknown tag (a value that begins with ! needs quotes)',
  BAD_DQ_ESCAPE: 'not valid YAML: unknown escape sequence (write \\\\ for a backslash, or use single quotes)',
  BAD_DIRECTIVE: 'not valid YAML: unknown directive (a value that begins with % needs quotes)',
};

function problemOf({ code, message, pos }: YAMLError, lineCounter: LineCounter): FileProblem {
  // What follows a colon is always a quotation, unless the colon is a word of the sentence.
  const [general = ''] = message.replaceAll(/\s+/g, ' ').split(/(?<! ): /);
  const { line } = lineCounter.linePos(pos[0]);
  return { line, path: null, message: OWN_MESSAGES[code] ?? `not valid YAML: ${general}` };
}

class Reader implements YamlSource {
  readonly value: unknown;
  readonly problems: FileProblem[] = [];
  /** Whether reading stopped at a bound; the last problem names it. */
  full = false;
  readonly #failed = new Set<string>();
  readonly #lines = new Map<string, number>();
  readonly #lineCounter: LineCounter;
  readonly #env: Environment;
  readonly #anchors = new Map<string, unknown>();
  /** Above 0 while the target of an alias is read: its anchors are known already. */
  #aliasDepth = 0;
  #valueCount = 0;

  constructor(document: Document.Parsed, lineCounter: LineCounter, env: Environment) {
    this.#lineCounter = lineCounter;
    this.#env = env;
    this.value = this.#read(document.contents, document.contents, []);
  }

  failed(path: KeyPath): boolean {
    return this.#failed.has(pathText(path));
  }

  lineOf(path: KeyPath): number | null {
    for (let length = path.length; length >= 0; length--) {
      const line = this.#lines.get(pathText(path.slice(0, length)));
      if (line !== undefined) return line;
    }
    return null;
  }

  /** Reads a node and remembers the line of its key. */
  #read(node: unknown, key: unknown, path: KeyPath): unknown {
    const line = this.#lineAt(key);
    if (line !== null) this.#lines.set(pathText(path), line);
    return this.#node(node, path);
  }

  #node(node: unknown, path: KeyPath): unknown {
    if (this.full) return undefined;
    this.#valueCount++;
    const isTooDeep = path.length > MAX_DEPTH;
    if (isTooDeep || this.#valueCount > MAX_VALUES) {
      this.full = true;
      const limit = isTooDeep ? `levels (${MAX_DEPTH})` : `values (${MAX_VALUES})`;
      return this.#fail(path, `has more ${limit} than allowed, aliases counted each time`);
    }
    if (isAlias(node)) return this.#alias(node, path);
    if (isNode(node) && this.#aliasDepth === 0 && node.anchor !== undefined)
      this.#anchors.set(node.anchor, node);
    if (isMap(node)) {
      // Without a prototype, `constructor` and `toString` are keys like others.
      const values: Record<string, unknown> = Object.create(null);
      for (const pair of node.items) this.#pair(pair, values, path);
      return values;
    }
    if (isSeq(node)) return node.items.map((item, index) => this.#read(item, item, [...path, index]));
    return isScalar(node) ? this.#scalar(node, path) : null;
  }

  #alias({ source }: Alias, path: KeyPath): unknown {
    const message = 'names an anchor that is not before it (a value that begins with * needs quotes)';
    if (!this.#anchors.has(source)) return this.#fail(path, message);
    this.#aliasDepth++;
    const value = this.#node(this.#anchors.get(source), path);
    this.#aliasDepth--;
    return value;
  }

  #pair(pair: Pair, values: Record<string, unknown>, path: KeyPath): void {
    if (!isScalar(pair.key) || pair.key.value === null) {
      this.#fail(path, 'has a key that is not a plain word');
      return;
    }
    const key = pair.key.source ?? String(pair.key.value);
    const keyPath = [...path, key];
    if (key === '__proto__' || key in values) {
      const message = key in values ? 'is given twice' : 'unknown key';
      this.problems.push({ line: this.#lineAt(pair.key), path: pathText(keyPath), message });
      return;
    }
    values[key] = this.#read(pair.value, pair.key, keyPath);
  }

  #scalar(scalar: Scalar, path: KeyPath): unknown {
    const plain = scalar.type === Scalar.PLAIN;
    const text = plain ? scalar.source : scalar.value;
    if (typeof text !== 'string' || !text.includes('${')) return scalar.value;
    const substituted = substitute(text, this.#env);
    if ('message' in substituted) return this.#fail(path, substituted.message);
    return plain ? typedAgain(substituted.text) : substituted.text;
  }

  #fail(path: KeyPath, message: string): undefined {
    this.problems.push({ line: this.lineOf(path), path: pathText(path) || null, message });
    this.#failed.add(pathText(path));
  }

  #lineAt(node: unknown): number | null {
    return isNode(node) && node.range ? this.#lineCounter.linePos(node.range[0]).line : null;
  }
}
