/**
 * Runs npm with the given words and, on a terminal, shows how many packages of package-lock.json are there. Runs before anything is
 * installed, on any Node.js that runs npm; make calls it.
 *
 *   node scripts/npm-progress.cjs ci --omit=dev
 */
'use strict';
const { spawn } = require('node:child_process');
const { existsSync } = require('node:fs');
const { join } = require('node:path');

const ROOT = join(__dirname, '..');
const EVERY_MS = 200;
const WIDTH = 30;

const words = process.argv.slice(2);
const terminal = process.stderr;
const folders = terminal.isTTY ? wantedFolders() : [];
let shown = '';

// npm's own spinner would write over the bar.
const npm = spawn('npm', terminal.isTTY ? words.concat('--no-progress') : words, {
  cwd: ROOT,
  stdio: ['inherit', 'inherit', terminal.isTTY ? 'pipe' : 'inherit'],
});
const timer = terminal.isTTY ? setInterval(draw, EVERY_MS) : null;
if (npm.stderr !== null) {
  npm.stderr.on('data', (chunk) => {
    clear();
    terminal.write(chunk);
  });
}
npm.on('error', (error) => end(1, `npm cannot be run: ${error.message}`));
npm.on('close', (code) => end(code === null ? 1 : code, ''));
for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => npm.kill(signal));

/** What this machine gets: an optional package of another system stays away. */
function wantedFolders() {
  const { packages } = require('../package-lock.json');
  const fits = (list, own) => list === undefined || list.includes(own);
  return Object.entries(packages)
    .filter(([path, { dev, os, cpu }]) => {
      const isWanted = path !== '' && !(dev && words.includes('--omit=dev'));
      return isWanted && fits(os, process.platform) && fits(cpu, process.arch);
    })
    .map(([path]) => join(ROOT, path, 'package.json'));
}

function draw() {
  const there = folders.filter((path) => existsSync(path)).length;
  const part = folders.length === 0 ? 0 : there / folders.length;
  const bar = '█'.repeat(Math.round(part * WIDTH)).padEnd(WIDTH, '░');
  const text = `installing ${bar} ${there} of ${folders.length} packages`;
  if (text === shown) return;
  terminal.write(`\r\u001b[2K${text}`);
  shown = text;
}

function clear() {
  if (shown !== '') terminal.write('\r\u001b[2K');
  shown = '';
}

function end(code, message) {
  if (timer !== null) clearInterval(timer);
  clear();
  if (message !== '') terminal.write(`${message}\n`);
  process.exitCode = code;
}
