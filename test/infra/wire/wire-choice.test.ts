import assert from 'node:assert/strict';
import { test } from 'node:test';
import { socketWires } from '../../../src/infra/wire/socket-wire.ts';
import {
  chooseDataPath,
  HANDLE_WIRE_VERSIONS,
  slowReason,
  wiresOf,
} from '../../../src/infra/wire/wire-choice.ts';

const [TESTED = ''] = HANDLE_WIRE_VERSIONS;

test('the handle wire is chosen on the exact versions of its list', () => {
  assert.ok(HANDLE_WIRE_VERSIONS.length > 0);
  for (const version of HANDLE_WIRE_VERSIONS) {
    assert.match(version, /^v\d+\.\d+\.\d+$/, 'as in process.version');
    assert.deepEqual(chooseDataPath(version, {}), { engine: 'wire', wire: 'handle' });
  }
});

test('on any other version the socket wire is chosen, however close the version is', () => {
  for (const version of HANDLE_WIRE_VERSIONS) {
    const [major, minor, patch] = version.slice(1).split('.').map(Number) as [number, number, number];
    const others = [
      `v${major}.${minor}.${patch + 1}`,
      `v${major}.${minor + 1}.${patch}`,
      `v${major + 1}.${minor}.${patch}`,
      `${version}0`,
      `${version}-nightly`,
      version.slice(1),
      version.slice(0, -1),
      '',
    ];
    for (const other of others.filter((name) => !HANDLE_WIRE_VERSIONS.includes(name)))
      assert.deepEqual(chooseDataPath(other, {}), { engine: 'wire', wire: 'socket' }, other);
  }
});

test('SLUICE_WIRE=socket uses the documented API on every version, and an empty value changes nothing', () => {
  for (const version of [TESTED, 'v20.0.0'])
    assert.equal(chooseDataPath(version, { SLUICE_WIRE: 'socket' }).wire, 'socket', version);
  assert.equal(chooseDataPath(TESTED, { SLUICE_WIRE: '' }).wire, 'handle');
  assert.equal(chooseDataPath('v20.0.0', { SLUICE_WIRE: '' }).wire, 'socket');
});

test('SLUICE_WIRE=handle is accepted on a listed version and refused on any other', () => {
  assert.equal(chooseDataPath(TESTED, { SLUICE_WIRE: 'handle' }).wire, 'handle');
  const expected = { code: 'config_invalid', message: /SLUICE_WIRE=handle .*v20\.0\.0/ };
  assert.throws(() => chooseDataPath('v20.0.0', { SLUICE_WIRE: 'handle' }), expected);
});

test('with SLUICE_UNTESTED_WIRE=1 too, SLUICE_WIRE=handle is accepted on other versions', () => {
  const both = { SLUICE_WIRE: 'handle', SLUICE_UNTESTED_WIRE: '1' };
  assert.equal(chooseDataPath('v20.0.0', both).wire, 'handle');
  assert.equal(chooseDataPath('v20.0.0', { SLUICE_UNTESTED_WIRE: '1' }).wire, 'socket');
  for (const word of ['', '0', 'true'])
    assert.throws(() => chooseDataPath('v20.0.0', { ...both, SLUICE_UNTESTED_WIRE: word }), /not available/);
});

test('SLUICE_ENGINE chooses the engine, whatever the wire', () => {
  for (const wire of ['socket', 'handle']) {
    for (const engine of ['wire', 'node']) {
      const chosen = chooseDataPath(TESTED, { SLUICE_WIRE: wire, SLUICE_ENGINE: engine });
      assert.deepEqual(chosen, { engine, wire });
    }
  }
});

test('node’s engine uses the socket wire unless SLUICE_WIRE=handle', () => {
  assert.deepEqual(chooseDataPath(TESTED, { SLUICE_ENGINE: 'node' }), { engine: 'node', wire: 'socket' });
});

test('if node exposes no handle, the socket wire is chosen, and SLUICE_WIRE=handle is refused', (t) => {
  const refuse = () => {
    throw new Error('Access to this API has been restricted');
  };
  t.mock.method(process as unknown as { binding: () => void }, 'binding', refuse);
  assert.deepEqual(chooseDataPath(TESTED, {}), { engine: 'wire', wire: 'socket' });
  assert.match(slowReason(TESTED), /restricted/);
  assert.throws(() => chooseDataPath(TESTED, { SLUICE_WIRE: 'handle' }), /not available: .*restricted/);
});

test('the variable of 0.3 is refused with a message that names its replacements', () => {
  const expected = { code: 'config_invalid', message: /SLUICE_WIRE=socket, or SLUICE_ENGINE=node/ };
  assert.throws(() => chooseDataPath(TESTED, { SLUICE_PUBLIC_HTTP_API: '1' }), expected);
});

test('an unknown value is refused with the name of its variable', () => {
  for (const variable of ['SLUICE_WIRE', 'SLUICE_ENGINE']) {
    for (const word of ['Socket', 'no', ' wire']) {
      const expected = {
        code: 'config_invalid',
        message: new RegExp(`^${variable} .* ${JSON.stringify(word)}$`),
      };
      assert.throws(() => chooseDataPath(TESTED, { [variable]: word }), expected, word);
    }
  }
});

test('each name selects its wires', () => {
  assert.equal(wiresOf('socket'), socketWires);
  assert.equal(wiresOf('socket').name, 'socket');
  assert.equal(wiresOf('handle').name, 'handle');
});
