/** How overloaded a worker is, from less to more; see proxy/overload.ts. The metric shows the index. */
export const OVERLOAD_LEVELS = ['none', 'softened', 'shedding'] as const;
export type OverloadLevel = (typeof OVERLOAD_LEVELS)[number];
