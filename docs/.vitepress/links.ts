/**
 * Links between the files of the repository, which work on a code host, become links between the pages of the site. A page, a
 * section or a file that is not there is an error.
 */
import { cpSync, existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { MarkdownOptions } from 'vitepress';

const ROOT = fileURLToPath(new URL('../../', import.meta.url));
/** The notes beside the sources, and their places in the site. (docs/security.md has the name of SECURITY.md.) */
const NOTES: Readonly<Record<string, string>> = {
  'CONTRIBUTING.md': 'contributing.md',
  'CHANGELOG.md': 'changelog.md',
  'SECURITY.md': 'reporting.md',
};
/** What pages link to and is no page; the site has copies in files/. */
const linkedFiles = new Set<string>();

/** placeOf is the place of a page in the site. @param path in the repository, as docs/tls.md */
export function placeOf(path: string): string {
  return NOTES[path] ?? path.replace(/^docs\//, '').replace(/README\.md$/, 'index.md');
}

/** anchorOf is the name of a heading in links, as code hosts make it. */
export function anchorOf(title: string): string {
  return title
    .trim()
    .toLowerCase()
    .replace(/[^\p{L}\p{N}_ -]/gu, '')
    .replaceAll(' ', '-');
}

/** keepLinks is for `markdown.config`. */
export function keepLinks(markdown: Parameters<NonNullable<MarkdownOptions['config']>>[0]): void {
  const { link_open: linkPage } = markdown.renderer.rules;
  markdown.renderer.rules.link_open = (tokens, index, options, env, self) => {
    const token = tokens[index];
    const [href = '', anchor] = (token?.attrGet('href') ?? '').split('#');
    const render = () => linkPage?.(tokens, index, options, env, self) ?? '';
    if (href === '' || /^[a-z]+:/.test(href)) return render();
    const path = relative(ROOT, join(dirname(env.realPath ?? env.path), href));
    if (path.startsWith('..') || !existsSync(join(ROOT, path)))
      throw new Error(`${relative(ROOT, env.path)}: ${href} is not there`);
    if (path.endsWith('.md')) {
      token?.attrSet('href', `/${placeOf(path)}${anchor === undefined ? '' : `#${anchor}`}`);
      return render();
    }
    linkedFiles.add(path);
    const list = isFolder(join(ROOT, path)) ? '/index.html' : '';
    const up = '../'.repeat(env.relativePath.split('/').length - 1) || './';
    token?.attrSet('href', `${up}files/${path}${list}`);
    token?.attrSet('target', '_blank');
    return self.renderToken(tokens, index, options);
  };
}

/** copyLinkedFiles puts the files that pages link to into the site, with a list of its files for each folder. */
export function copyLinkedFiles(site: string): void {
  for (const path of linkedFiles) {
    const copy = join(site, 'files', path);
    mkdirSync(dirname(copy), { recursive: true });
    cpSync(join(ROOT, path), copy, { recursive: true });
    if (!isFolder(copy)) continue;
    const links = filesBelow(copy).map((name) => `<li><a href="./${name}">${name}</a></li>\n`);
    const head = `<!doctype html><meta charset="utf-8"><title>${path}</title>`;
    writeFileSync(join(copy, 'index.html'), `${head}\n<ul>\n${links.join('')}</ul>\n`);
  }
}

/** checkAnchors throws where a page of the site links to a section that no page has. */
export function checkAnchors(site: string): void {
  const pages = new Map(
    filesBelow(site)
      .filter((name) => name.endsWith('.html') && !name.startsWith('files/'))
      .map((name) => [name, readFileSync(join(site, name), 'utf8')]),
  );
  const missing = [...pages].flatMap(([name, html]) =>
    [...html.matchAll(/<a[^>]* href="([^"#:]*)#([^"]+)"/g)]
      .map(([, page, id]) => ({
        target: page ? join(dirname(name), page) : name,
        id: decodeURIComponent(id ?? ''),
      }))
      .filter(({ target, id }) => !pages.get(target)?.includes(` id="${id}"`))
      .map(({ target, id }) => `${name}: ${target}#${id} is not there`),
  );
  if (missing.length > 0) throw new Error(missing.join('\n'));
}

function isFolder(path: string): boolean {
  return statSync(path).isDirectory();
}

function filesBelow(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(folder, join(entry.parentPath, entry.name)))
    .sort();
}
