/** The pages of docs/, README.md and the notes beside the sources as a site in dist-docs/: `make docs`. */
import { defineConfig } from 'vitepress';
import { anchorOf, checkAnchors, copyLinkedFiles, keepLinks, placeOf } from './links.ts';
import { sidebar } from './sidebar.ts';

/** All pages are in docs/ and beside it; what is below these has none. */
const WITHOUT_PAGES =
  '{.ci,.tmp,bench,bin,config,data,dist,dist-docs,lua,migrations,packages,scripts,src,test,test_backs}/**';

export default defineConfig({
  title: 'Sluice',
  description: 'An HTTP front door: a load balancer with exact rate limits.',
  // No icon is asked for.
  head: [['link', { rel: 'icon', href: 'data:,' }]],
  // Relative links: the site works below any path of a server.
  base: './',
  srcDir: '..',
  srcExclude: [WITHOUT_PAGES],
  outDir: '../dist-docs',
  cacheDir: '../.tmp/vitepress',
  rewrites: placeOf,
  ignoreDeadLinks: 'localhostLinks',
  markdown: { anchor: { slugify: anchorOf }, config: keepLinks, languageAlias: { haproxy: 'txt' } },
  themeConfig: {
    nav: [
      { text: 'Quickstart', link: '/quickstart' },
      { text: 'Cookbook', link: '/cookbook/' },
      { text: 'Configuration', link: '/configuration' },
      { text: 'Runbook', link: '/runbook' },
    ],
    sidebar,
    outline: [2, 3],
    search: { provider: 'local' },
  },
  buildEnd({ outDir }) {
    copyLinkedFiles(outDir);
    checkAnchors(outDir);
  },
});
