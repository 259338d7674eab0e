/** From the text of a file to plain values, each with the line of its key; variables are replaced on the way. */
import {
  type Document,
  isAlias,
  isMap,
  isScalar,
  isSeq,
  LineCounter,
  type Pair,
  parseDocument,
  Scalar,
  type YAMLError,
  type YAMLMap,
} from 'yaml';
import { type KeyPath, type Problem, pathText } from './problems.ts';
import { type Environment, substitute, typeAgain } from './substitution.ts';

/** Complaints of the YAML parser shown at most; one slip can cause hundreds. */
const MAX_SYNTAX_PROBLEMS = 10;
const STACK_EXHAUSTED = /call stack|Stack overflow/;
/** Values in one file, those that aliases repeat counted each time; bounds what a few nested aliases can blow up to. */
const MAX_VALUES = 20_000;
const MAX_DEPTH = 32;

const TOO_DEEP: Problem = { line: null, path: null, message: 'the file is nested too deeply' };

/** YamlSource is a parsed file: values without prototype tricks, lines by path, and what was wrong so far. */
export interface YamlSource {
  value: unknown;
  problems: Problem[];
  /** Whether the value at a path could not be had; further complaints about it would only confuse. */
  failed(path: KeyPath): boolean;
  /** Line of the key at a path; for a missing one that of its nearest parent in the file. */
  lineOf(path: KeyPath): number | null;
}

/** parseYaml reads a text; never throws. A text that is no YAML has problems and no value. */
export function parseYaml(text: string, env: Environment): YamlSource {
  const lineCounter = new LineCounter();
  let document: Document.Parsed;
  try {
    document = parseDocument(text, {
      lineCounter,
      schema: 'core',
      merge: false,
      resolveKnownTags: false,
      uniqueKeys: false,
      prettyErrors: false,
    });
  } catch (thrown) {
    // The parser is recursive: only depth can make it fail otherwise than by reporting.
    if (!(thrown instanceof RangeError)) throw thrown;
    return failure([TOO_DEEP]);
  }
  const complaints = [...document.errors, ...document.warnings];
  // The parser reports some of its own exhaustions as errors of the file.
  if (complaints.some(({ message }) => STACK_EXHAUSTED.test(message))) return failure([TOO_DEEP]);
  if (complaints.length > 0) {
    const shown = complaints.slice(0, MAX_SYNTAX_PROBLEMS);
    return failure(shown.map((error) => problemOf(error, lineCounter)));
  }
  const reader = new Reader(document, lineCounter, env);
  const value = reader.read();
  if (reader.full) return failure(reader.problems.slice(-1));
  return {
    value,
    problems: reader.problems,
    failed: (path) => reader.failed.has(pathText(path)),
    lineOf: (path) => nearest(reader.lines, path),
  };
}

function failure(problems: Problem[]): YamlSource {
  return { value: undefined, problems, failed: () => true, lineOf: () => null };
}

function problemOf(error: YAMLError, lineCounter: LineCounter): Problem {
  const message =
    error.code === 'MULTIPLE_DOCS'
      ? 'a second YAML document begins here, only one is allowed'
      : `not valid YAML: ${error.message.replaceAll(/\s+/g, ' ')}`;
  return { line: lineCounter.linePos(error.pos[0]).line, path: null, message };
}

function nearest(lines: ReadonlyMap<string, number>, path: KeyPath): number | null {
  for (let length = path.length; length >= 0; length--) {
    const line = lines.get(pathText(path.slice(0, length)));
    if (line !== undefined) return line;
  }
  return null;
}

class Reader {
  readonly lines = new Map<string, number>();
  readonly failed = new Set<string>();
  readonly problems: Problem[] = [];
  /** Whether reading stopped because the bounds were passed; the last problem says so. */
  full = false;
  readonly #document: Document.Parsed;
  readonly #lineCounter: LineCounter;
  readonly #env: Environment;
  readonly #anchors = new Map<string, unknown>();
  /** Above 0 while the target of an alias is read: the anchors in it are known already. */
  #aliasDepth = 0;
  #valueCount = 0;
  #depth = 0;

  constructor(document: Document.Parsed, lineCounter: LineCounter, env: Environment) {
    this.#document = document;
    this.#lineCounter = lineCounter;
    this.#env = env;
  }

  read(): unknown {
    this.#note([], this.#document.contents);
    return this.#node(this.#document.contents, []);
  }

  #node(node: unknown, path: KeyPath): unknown {
    if (this.full) return undefined;
    this.#valueCount++;
    if (this.#valueCount > MAX_VALUES || this.#depth > MAX_DEPTH) {
      this.full = true;
      const limit = this.#depth > MAX_DEPTH ? `levels (${MAX_DEPTH})` : `values (${MAX_VALUES})`;
      return this.#fail(path, `has more ${limit} than allowed, aliases counted each time`);
    }
    this.#depth++;
    try {
      return this.#nodeInDepth(node, path);
    } finally {
      this.#depth--;
    }
  }

  #nodeInDepth(node: unknown, path: KeyPath): unknown {
    if (isAlias(node)) {
      if (!this.#anchors.has(node.source)) return this.#fail(path, `no anchor &${node.source} before it`);
      this.#aliasDepth++;
      const value = this.#node(this.#anchors.get(node.source), path);
      this.#aliasDepth--;
      return value;
    }
    if (isMap(node) || isSeq(node) || isScalar(node)) {
      if (this.#aliasDepth === 0 && node.anchor !== undefined) this.#anchors.set(node.anchor, node);
    }
    if (isMap(node)) return this.#map(node, path);
    if (isSeq(node)) {
      return node.items.map((item, index) => {
        const itemPath = [...path, index];
        this.#note(itemPath, item);
        return this.#node(item, itemPath);
      });
    }
    return isScalar(node) ? this.#scalar(node, path) : null;
  }

  #map(map: YAMLMap, path: KeyPath): unknown {
    // Without a prototype, `constructor` or `toString` are keys like others.
    const values: Record<string, unknown> = Object.create(null);
    for (const pair of map.items) this.#pair(pair, values, path);
    return values;
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
    this.#note(keyPath, pair.key);
    values[key] = this.#node(pair.value, keyPath);
  }

  #scalar(scalar: Scalar, path: KeyPath): unknown {
    const plain = scalar.type === Scalar.PLAIN;
    const text = plain ? scalar.source : scalar.value;
    if (typeof text !== 'string' || !text.includes('${')) return scalar.value;
    const substituted = substitute(text, this.#env);
    if ('message' in substituted) return this.#fail(path, substituted.message);
    return plain ? typeAgain(substituted.text, this.#document.schema) : substituted.text;
  }

  #fail(path: KeyPath, message: string): undefined {
    this.problems.push({ line: nearest(this.lines, path), path: pathText(path) || null, message });
    this.failed.add(pathText(path));
  }

  #note(path: KeyPath, node: unknown): void {
    const line = this.#lineAt(node);
    if (line !== null) this.lines.set(pathText(path), line);
  }

  #lineAt(node: unknown): number | null {
    const range = isMap(node) || isSeq(node) || isScalar(node) || isAlias(node) ? node.range : null;
    return range === null || range === undefined ? null : this.#lineCounter.linePos(range[0]).line;
  }
}
