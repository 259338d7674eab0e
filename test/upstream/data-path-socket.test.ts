import { testDataPath, UPSTREAM_SUITES } from '../proxy/data-paths.ts';

testDataPath({ SLUICE_WIRE: 'socket' }, UPSTREAM_SUITES);
