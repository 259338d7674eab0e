import { testDataPath } from './data-paths.ts';

testDataPath({ SLUICE_ENGINE: 'node', SLUICE_WIRE: 'handle' });
