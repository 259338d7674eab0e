/** The collapsing backend: it serves SLOTS requests at a time, SERVICE_MS each, and more slowly the more wait beyond KNEE. */
export const SLOTS = 4;
export const SERVICE_MS = 10;
export const KNEE = 32;
