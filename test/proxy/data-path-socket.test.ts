import { testDataPath } from './data-paths.ts';

testDataPath({ SLUICE_WIRE: 'socket' });
