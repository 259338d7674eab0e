/** The pages, in the order of the navigation. */
import type { ComponentType } from 'preact';
import { ClientsPage } from '../pages/clients/clients-page.tsx';
import { ConfigPage } from '../pages/config/config-page.tsx';
import { EventsPage } from '../pages/events/events-page.tsx';
import { LimitsPage } from '../pages/limits/limits-page.tsx';
import { LivePage } from '../pages/live/live-page.tsx';
import { OverviewPage } from '../pages/overview/overview-page.tsx';
import { PoolsPage } from '../pages/pools/pools-page.tsx';
import { RoutesPage } from '../pages/routes/routes-page.tsx';

export interface Page {
  /** Its name in the URL; the first page has none. */
  name: string;
  title: string;
  Body: ComponentType<{ subject: string }>;
}

export const PAGES: readonly Page[] = [
  { name: '', title: 'Overview', Body: OverviewPage },
  { name: 'pools', title: 'Pools', Body: PoolsPage },
  { name: 'limits', title: 'Limits', Body: LimitsPage },
  { name: 'clients', title: 'Clients', Body: ClientsPage },
  { name: 'routes', title: 'Routes', Body: RoutesPage },
  { name: 'live', title: 'Live', Body: LivePage },
  { name: 'config', title: 'Config', Body: ConfigPage },
  { name: 'events', title: 'Events', Body: EventsPage },
];
