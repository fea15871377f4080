// A person who follows the URL of a device login and answers it.
//
//   node approve.mjs URL [--deny] [--user NAME] [--code USER-CODE] [--screenshot FILE] [--dark]
//                        [--size WIDTHxHEIGHT] [--expect TEXT]…
//
// Knows oidc-provider's pages, and any page with a button Allow and a button Deny, where a radio
// button may choose the user. There, both buttons and every TEXT must be in view without scrolling.
// The screenshot shows what is in view of the page with the question, which must not need scrolling
// sideways; beside it, FILE.after.png shows the page that follows. Exit status 0 means that the
// answer was given and received.
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { chromium } from 'playwright-core';

const PATIENCE = { page: 10_000, whole: 60_000 };
const { values: options, positionals: [url] } = parseArgs({
  allowPositionals: true,
  options: {
    deny: { type: 'boolean' },
    user: { type: 'string' },
    code: { type: 'string' },
    screenshot: { type: 'string' },
    dark: { type: 'boolean' },
    size: { type: 'string', default: '1000x750' },
    expect: { type: 'string', multiple: true, default: [] },
  },
});

// What may be on the page, and what to do about it: the first that is there. The page that tells of
// a denial has a field for another code, so the ends of a path, `done`, come before the middle.
const STEPS = [
  {
    name: 'Allow or Deny',
    mark: (page) => page.getByRole('button', { name: 'Allow', exact: true }),
    async act(page, allow) {
      const deny = page.getByRole('button', { name: 'Deny', exact: true });
      const texts = options.expect.map((text) => page.getByText(text).first());
      for (const part of [allow, deny, ...texts]) await mustBeInView(part);
      if (options.user) await page.getByRole('radio', { name: options.user }).check();
      await shoot(page);
      await answer(page, options.deny ? deny : allow);
      await shoot(page, '.after.png');
    },
    done: true,
  },
  {
    name: 'approved',
    mark: (page) => page.getByRole('heading', { name: 'Sign-in Success' }),
    async act() {
      if (options.deny) throw new Error('approved instead of denied');
    },
    done: true,
  },
  {
    name: 'denied',
    mark: (page) => page.getByText('The Sign-in request was interrupted'),
    async act() {
      if (!options.deny) throw new Error('denied instead of approved');
    },
    done: true,
  },
  {
    name: 'code',
    mark: (page) => page.getByRole('textbox', { name: /code/i })
      .or(page.locator('input[name="user_code"]:not([type="hidden"])')),
    async act(page, mark) {
      if (!options.code) throw new Error('the page asks for a code: pass --code');
      await mark.fill(options.code);
      await answer(page, page.getByRole('button', { name: /continue|next/i }));
    },
  },
  {
    name: 'confirm the device',
    mark: (page) => page.getByRole('heading', { name: 'Confirm Device' }),
    async act(page) {
      if (options.deny) await shoot(page);
      await answer(page, page.getByRole('button', { name: options.deny ? /abort/i : 'Continue' }));
    },
  },
  {
    name: 'log in',
    mark: (page) => page.getByPlaceholder('Enter any login'),
    async act(page, mark) {
      await mark.fill(options.user ?? 'alice');
      await page.getByPlaceholder('and password').fill('anything');
      await answer(page, page.getByRole('button', { name: 'Sign-in' }));
    },
  },
  {
    name: 'consent',
    mark: (page) => page.getByRole('heading', { name: 'Authorize' }),
    async act(page) {
      await shoot(page);
      await answer(page, page.getByRole('button', { name: 'Continue' }));
    },
  },
];

if (!url) throw new Error('usage: approve.mjs URL [--deny] [--user NAME] [--code USER-CODE] …');
setTimeout(() => fail(new Error('out of patience')), PATIENCE.whole).unref();
const [width, height] = options.size.split('x').map(Number);
const home = await mkdtemp(join(tmpdir(), 'person-'));
try {
  await browse();
} catch (error) {
  fail(error);
} finally {
  await rm(home, { recursive: true, force: true, maxRetries: 5 });
}

async function browse() {
  const browser = await chromium.launchPersistentContext(home, {
    executablePath: '/usr/bin/chromium',
    headless: true,
    chromiumSandbox: false,
    colorScheme: options.dark ? 'dark' : 'light',
    viewport: { width, height },
    deviceScaleFactor: 2,
    timeout: PATIENCE.whole,
    env: { PATH: process.env.PATH, HOME: home, TMPDIR: home, LANG: 'C.UTF-8' },
    args: [
      '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
      '--disable-component-update', '--disable-sync', '--no-proxy-server',
      // Nothing beyond this machine: oidc-provider's pages would wait for a font from elsewhere.
      '--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE *.localhost, EXCLUDE 127.0.0.1',
    ],
  });
  try {
    const [page] = browser.pages();
    page.setDefaultTimeout(PATIENCE.page);
    await page.goto(url);
    for (let done = false, left = 8; !done; left -= 1) {
      if (!left) throw new Error('the pages go round in circles');
      done = await step(page);
    }
  } finally {
    await browser.close();
  }
}

async function step(page) {
  const marks = STEPS.map(({ mark }) => mark(page));
  try {
    await marks.reduce((any, mark) => any.or(mark)).first().waitFor();
  } catch {
    const text = await page.locator('body').innerText();
    throw new Error(`unknown page ${page.url()}: ${text.slice(0, 300)}`);
  }
  for (const [index, mark] of marks.entries()) {
    if (await mark.isVisible()) {
      console.error(`person: ${STEPS[index].name}`);
      await STEPS[index].act(page, mark);
      return STEPS[index].done ?? false;
    }
  }
  return false;
}

/** Clicks and waits for the page that follows, so that no later look sees the one before. */
async function answer(page, button) {
  const [reply] = await Promise.all([page.waitForNavigation(), button.click()]);
  if (!reply?.ok()) throw new Error(`${page.url()} answered ${reply?.status()}`);
}

/** Wholly inside the window, with nothing over it, as the page is when it opens. */
async function mustBeInView(part) {
  const hidden = await part.evaluate((element) => {
    const { left, right, top, bottom } = element.getBoundingClientRect();
    const inside = left >= 0 && right <= innerWidth && top >= 0 && bottom <= innerHeight;
    const covered = [top + 2, bottom - 2]
      .some((y) => !element.contains(document.elementFromPoint((left + right) / 2, y)));
    return inside && !covered ? '' : `${element.textContent} at ${top} to ${bottom}`;
  });
  if (hidden) throw new Error(`not in view without scrolling: ${hidden}`);
}

async function shoot(page, suffix = '') {
  if (!options.screenshot) return;
  await page.screenshot({ path: options.screenshot + suffix });
  const sideways = await page.evaluate('document.documentElement.scrollWidth > innerWidth');
  if (sideways) throw new Error('the page needs scrolling sideways');
}

function fail(error) {
  console.error(`person: ${error.message}`);
  process.exitCode = 1;
  if (error.message === 'out of patience') process.exit();
}
