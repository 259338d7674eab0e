/** The dashboard: a program of the browser, served by the admin port. */
import { render } from 'preact';
import { followSession } from './api/feed.ts';
import { resume } from './api/session.ts';
import { App } from './frame/app.tsx';
import { applyTheme } from './frame/theme.ts';

applyTheme();
followSession();
render(<App />, document.getElementById('app') as HTMLElement);
void resume();
