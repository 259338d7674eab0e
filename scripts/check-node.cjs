// Loaded with `node -r` before the program. It reports that this Node.js is too old, where the program itself would fail
// with a syntax error. So it must run on every Node.js since version 4.
'use strict';
var wanted = require('../package.json').engines.node;

// Understands the syntax that package.json uses: `>=a.b.c` and `<a`, joined by spaces (and) or `||` (or).
function fits(version) {
  return wanted.split('||').some((range) =>
    range
      .trim()
      .split(/\s+/)
      .every((comparator) => {
        var parts = /^(>=|<)(.+)$/.exec(comparator);
        var order = compare(version, parts[2]);
        return parts[1] === '<' ? order < 0 : order >= 0;
      }),
  );
}

function compare(left, right) {
  var rightParts = right.split('.');
  var leftParts = left.split('.');
  var difference = 0;
  var i;
  for (i = 0; i < 3; i += 1) {
    difference = parseInt(leftParts[i] || '0', 10) - parseInt(rightParts[i] || '0', 10);
    if (difference !== 0) return difference;
  }
  return 0;
}

if (!fits(process.versions.node)) {
  process.stderr.write(
    'Sluice needs Node.js ' +
      wanted +
      ', this is ' +
      process.versions.node +
      ': run `npm ci`, which brings the right one, or `make install`.\n',
  );
  process.exit(1);
}
