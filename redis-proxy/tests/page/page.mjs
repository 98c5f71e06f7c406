// The page for the security team in a real Chromium. tests/it/page_browser.rs starts redis-proxy and this.
//
// PAGE_ORIGIN   https://localhost:<port>
// PAGE_HOME     a home with a certificate of the security team's; NO_CERT_HOME: one without
// PAGE_CHROME   the browser
// PAGE_TOOLS    the folder that has playwright-core/ and axe.min.js
// PAGE_SHOTS    optional: a folder for pictures
import { test } from 'node:test';
import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

const { PAGE_ORIGIN, PAGE_HOME, NO_CERT_HOME, PAGE_CHROME, PAGE_TOOLS, PAGE_SHOTS } = process.env;
const { chromium } = createRequire(import.meta.url)(join(PAGE_TOOLS, 'playwright-core'));
const AXE = readFileSync(join(PAGE_TOOLS, 'axe.min.js'), 'utf8');
const PAGE = `${PAGE_ORIGIN}/security`;
const HOSTILE = `"><script>window.hacked=1</script><img src=x onerror="window.hacked=2">`;

const launch = (home) => chromium.launchPersistentContext(join(home, 'profile'), {
  executablePath: PAGE_CHROME,
  headless: true,
  chromiumSandbox: false,
  viewport: { width: 1280, height: 900 },
  // A page of the internet may otherwise not even try to reach this machine.
  args: ['--disable-features=LocalNetworkAccessChecks'],
  env: { ...process.env, HOME: home },
});

const context = await launch(PAGE_HOME);
context.setDefaultTimeout(20_000);
const complaints = [];

// A page whose complaints count: console errors, exceptions, violations of the content security policy.
const open = async (path = '', tolerated = /^$/) => {
  const page = await context.newPage();
  page.on('console', (line) => {
    if (['error', 'warning'].includes(line.type()) && !tolerated.test(line.text())) complaints.push(line.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  await page.goto(PAGE + path);
  return page;
};

const row = (page, value) => page.locator('#lists tbody tr', { hasText: value });

// Goes on with Tab until the element has the focus, as somebody without a mouse would.
const tabTo = async (page, selector, most = 60) => {
  for (let n = 0; n < most; n += 1) {
    await page.keyboard.press('Tab');
    if (await page.locator(selector).evaluate((element) => element === document.activeElement)) return n + 1;
  }
  return assert.fail(`${selector} cannot be reached with Tab`);
};

test('an entry is shown and its time counts down', async () => {
  const soon = await open();
  await soon.evaluate((path) => fetch(path, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify({ kind: 'ip', value: '192.0.2.99', ttlSeconds: 10, reason: 'soon over' }),
  }), '/v1/internal/edge/deny');
  await soon.close();
  const page = await open();
  const entry = row(page, '192.0.2.1');
  await entry.getByText('scans').waitFor();
  assert.equal(await entry.getByRole('link', { name: 'Ticket SEC-1' }).getAttribute('href'), 'https://tickets.example/SEC-1');
  const shown = async () => {
    const [, minutes, seconds] = /^(\d+) min (\d+) s$/.exec(await entry.locator('[data-until]').textContent());
    return Number(minutes) * 60 + Number(seconds);
  };
  const began = Date.now();
  const first = await shown();
  assert.ok(first > 3_400 && first < 3_600, first);
  await page.waitForTimeout(2_100);
  const passed = first - await shown();
  // Whole seconds, and a busy machine takes longer than it was told to.
  const most = (Date.now() - began) / 1_000 + 2;
  assert.ok(passed >= 2 && passed <= most, `${passed} of ${most}`);
  await row(page, '192.0.2.99').getByText('over').waitFor();
  await page.close();
});

test('who comes by and what was refused', async () => {
  const page = await open();
  await page.locator('#top').getByText('t13d1516h2_8daaf6152771_e5627efa2ab1').waitFor();
  const denied = page.locator('#refusals tr[data-kind="Denied"]');
  assert.match(await denied.textContent(), /403.*30/);
  await page.getByRole('link', { name: 'Add t13d1516h2_8daaf6152771_e5627efa2ab1 to a list' }).click();
  assert.equal(await page.locator('#add-kind').inputValue(), 'ja4');
  assert.equal(await page.locator('#add-value').inputValue(), 't13d1516h2_8daaf6152771_e5627efa2ab1');
  await page.close();
});

test('an entry is added with the keyboard alone', async () => {
  const page = await open();
  await page.keyboard.press('Tab');
  assert.equal(await page.locator(':focus').textContent(), 'Skip to the lists');
  await tabTo(page, '#add summary');
  await page.keyboard.press('Enter');
  await tabTo(page, '#add-list');
  await page.keyboard.press('t');
  await tabTo(page, '#add-kind');
  await page.keyboard.press('n');
  await tabTo(page, '#add-value');
  await page.keyboard.type('198.51.100.0/24');
  const outline = await page.locator('#add-value').evaluate((element) => getComputedStyle(element).outlineStyle);
  assert.equal(outline, 'solid', 'the focus can be seen');
  await tabTo(page, '#add-reason');
  await page.keyboard.type(HOSTILE);
  await tabTo(page, '#add-ticket');
  await page.keyboard.type('https://tickets.example/SEC-2');
  await page.keyboard.press('Enter');
  await page.getByText('198.51.100.0/24 is on the list tarpit.').waitFor();
  assert.equal(await page.locator(':focus').getAttribute('id'), 'told');
  assert.match(await page.getByRole('link', { name: /^Tarpit/ }).getAttribute('aria-current'), /page/);
  assert.match(await row(page, '198.51.100.0/24').locator('[data-until]').textContent(), /^59 min|^1 h 0 min/);
  await page.close();
});

test('what attackers say is text', async () => {
  for (const path of ['?list=tarpit&q=198.51.100.9', `?q=${encodeURIComponent(HOSTILE)}`, `?list=${encodeURIComponent(HOSTILE)}`]) {
    const page = await open(path, /status of 400/);
    assert.equal(await page.evaluate(() => window.hacked), undefined, path);
    assert.equal(await page.locator('main img, main script').count(), 0, path);
    if (path.startsWith('?list=tarpit')) assert.equal(await row(page, '198.51.100.0/24').locator('.reason').textContent(), HOSTILE);
    await page.close();
  }
});

test('an error is told at its field', async () => {
  const page = await open('', /status of 4(00|09)/);
  await page.locator('#add summary').click();
  await page.getByLabel('Value').fill('192.0.2.300');
  await page.getByLabel('Ticket, a URL (optional)').first().fill('javascript:alert(1)');
  await page.getByRole('button', { name: 'Add to the list' }).click();
  await page.locator('#add-reason-error', { hasText: 'must be 1 to 1024 bytes' }).waitFor();
  await page.locator('#add-ticketUrl-error', { hasText: 'must be an http or https URL' }).waitFor();
  const value = page.getByLabel('Value');
  assert.equal(await value.getAttribute('aria-invalid'), 'true');
  assert.equal(await value.getAttribute('aria-describedby'), 'add-value-error');
  assert.notEqual(await page.locator('#add-value-error').textContent(), '');
  assert.equal(await page.locator(':focus').getAttribute('id'), 'add-value', 'the first wrong field has the focus');
  await page.getByLabel('Value').fill('192.0.2.1');
  await page.locator('#add-reason').fill('again');
  await page.locator('#add-ticket').fill('');
  await page.keyboard.press('Enter');
  await page.locator('#add-value-error', { hasText: 'is on the list already' }).waitFor();
  assert.equal(await page.locator('#add-reason').getAttribute('aria-invalid'), null);
  await page.close();
});

test('an entry is removed after a confirmation, with a reason', async () => {
  const page = await open('?list=tarpit&q=198.51.100.9');
  const button = page.getByRole('button', { name: 'Remove 198.51.100.0/24 from tarpit' });
  await button.click();
  const dialog = page.getByRole('dialog', { name: 'Remove the entry?' });
  await dialog.getByText('198.51.100.0/24').waitFor();
  assert.equal(await page.locator(':focus').textContent(), 'Keep it', 'the harmless button has the focus');
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'hidden' });
  assert.equal(await page.locator(':focus').textContent(), 'Remove');
  await page.keyboard.press('Enter');
  await dialog.getByLabel('Reason (optional)').fill('a mistake');
  await dialog.getByRole('button', { name: 'Remove it' }).click();
  await page.getByText('198.51.100.0/24 is off the list tarpit.').waitFor();
  assert.equal(await row(page, '198.51.100.0/24').count(), 0);
  const change = page.locator('#changes tbody tr').first();
  assert.match(await change.textContent(), /spiffe:\/\/portcullis\.\w+\/soc.*tarpit: removed.*198\.51\.100\.0\/24.*a mistake/);
  await page.close();
});

test('entries are found and paged', async () => {
  const page = await open('?list=tarpit');
  assert.equal(await page.locator('#lists tbody tr').count(), 50);
  await page.getByRole('link', { name: 'Next entries' }).click();
  await row(page, '203.0.113.51').waitFor();
  await page.getByRole('searchbox', { name: 'Find' }).fill('203.0.113.7');
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: 'Show all' }).waitFor();
  assert.deepEqual(await page.locator('#lists td.value').allTextContents(), ['203.0.113.7']);
  await page.close();
});

test('dark and light', async () => {
  const page = await open();
  const colours = () => page.evaluate(() => {
    const of = (selector) => getComputedStyle(document.querySelector(selector));
    return { ground: of('body').backgroundColor, ink: of('body').color, sheet: of('#lists').backgroundColor };
  });
  await page.emulateMedia({ colorScheme: 'light' });
  assert.deepEqual(await colours(), { ground: 'rgb(246, 247, 249)', ink: 'rgb(27, 33, 48)', sheet: 'rgb(255, 255, 255)' });
  await page.emulateMedia({ colorScheme: 'dark' });
  assert.deepEqual(await colours(), { ground: 'rgb(18, 21, 28)', ink: 'rgb(231, 234, 241)', sheet: 'rgb(27, 32, 42)' });
  await page.close();
});

test('axe finds nothing, in light and dark, with the form and the dialog open', async () => {
  const page = await open('?list=tarpit&after=51');
  await page.evaluate(AXE);
  await page.locator('#add summary').click();
  const violations = async (state) => {
    const found = await page.evaluate(async () => (await window.axe.run(document, { resultTypes: ['violations'] })).violations);
    assert.deepEqual(found.map(({ id, nodes }) => `${state}: ${id}: ${nodes.map((node) => node.html).join(' | ')}`), []);
  };
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    await violations(colorScheme);
    if (PAGE_SHOTS) {
      await page.locator('#add summary').click();
      await page.screenshot({ path: join(PAGE_SHOTS, `security-page-${colorScheme}.png`), fullPage: true });
      await page.locator('#add summary').click();
    }
    await page.locator('button.remove').first().click();
    await violations(`${colorScheme}, dialog`);
    await page.keyboard.press('Escape');
  }
  await page.close();
});

test('without JavaScript everything can be read', async () => {
  const page = await context.newPage();
  const session = await context.newCDPSession(page);
  await session.send('Emulation.setScriptExecutionDisabled', { value: true });
  await page.goto(PAGE);
  await row(page, '192.0.2.1').getByText('scans').waitFor();
  assert.match(await row(page, '192.0.2.1').locator('.left').textContent(), /^5\d min \d+ s$/);
  await page.getByText('Without JavaScript this page only shows.').waitFor();
  assert.equal(await page.locator('#add, button.remove, a.add').filter({ visible: true }).count(), 0, 'nothing that does not work');
  await page.getByRole('searchbox', { name: 'Find' }).fill('nobody has this');
  await page.keyboard.press('Enter');
  await page.getByText('None found').waitFor();
  await page.close();
});

test('a page of another site changes nothing', async () => {
  const page = await context.newPage();
  await page.route('https://evil.example/**', (route) => route.fulfill({ contentType: 'text/html', body: '<form method="post" enctype="text/plain"></form>' }));
  await page.goto('https://evil.example/');
  const add = { kind: 'ip', value: '192.0.2.200', ttlSeconds: 600, reason: 'forged' };
  const blocked = await page.evaluate(async ({ to, add }) => {
    const outcomes = [];
    for (const [mode, headers] of [['cors', { 'content-type': 'application/json' }], ['no-cors', { 'content-type': 'text/plain' }]]) {
      const outcome = fetch(to, { method: 'POST', mode, credentials: 'include', headers, body: JSON.stringify(add) });
      outcomes.push(await outcome.then((answer) => answer.type, () => 'failed'));
    }
    return outcomes;
  }, { to: `${PAGE_ORIGIN}/v1/internal/edge/deny`, add });
  assert.deepEqual(blocked, ['failed', 'opaque']);
  await page.evaluate(({ to }) => {
    const form = document.forms[0];
    form.action = to;
    form.innerHTML = '<input name=\'{"kind":"ip","value":"192.0.2.200","ttlSeconds":600,"reason":"\' value=\'forged"}\'>';
    form.submit();
  }, { to: `${PAGE_ORIGIN}/v1/internal/edge/deny` });
  await page.getByText('cross_site').waitFor();
  await page.close();
  const own = await open('?q=192.0.2.200');
  await own.getByText('None found').waitFor();
  await own.close();
});

test('nobody frames it', async () => {
  const page = await context.newPage();
  await page.route('https://evil.example/**', (route) => route.fulfill({ contentType: 'text/html', body: `<iframe src="${PAGE}"></iframe>` }));
  const refused = page.waitForEvent('console', (line) => /frame-ancestors/.test(line.text()));
  await page.goto('https://evil.example/');
  await refused;
  await page.close();
});

test('no certificate, no page', async () => {
  const nobody = await launch(NO_CERT_HOME);
  try {
    const page = await nobody.newPage();
    await assert.rejects(page.goto(PAGE), /net::ERR_/);
    assert.equal(await page.getByText('Portcullis').count(), 0);
  } finally {
    await nobody.close();
  }
});

test('nothing on the page was complained about', async () => {
  await context.close();
  assert.deepEqual(complaints, []);
});
