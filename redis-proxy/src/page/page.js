// Counts times down, and changes the lists through the control API. Everything else is there without it.
'use strict';
(() => {
  const API = '/v1/internal/edge/';
  const TOLD = 'told';
  const at = (id) => document.getElementById(id);

  // The server's clock, moved on by one that never steps.
  const server = Number(document.body.dataset.now);
  const loaded = performance.now();
  const now = () => server + performance.now() - loaded;

  const left = (ms) => {
    const seconds = Math.floor(ms / 1000);
    const [d, h, m, s] = [seconds / 86400, (seconds / 3600) % 24, (seconds / 60) % 60, seconds % 60].map(Math.floor);
    if (d) return `${d} d ${h} h`;
    if (h) return `${h} h ${m} min`;
    return m ? `${m} min ${s} s` : `${s} s`;
  };

  const tick = () => {
    for (const cell of document.querySelectorAll('[data-until]')) {
      const rest = Number(cell.dataset.until) - now();
      cell.textContent = rest > 0 ? left(rest) : 'over';
      cell.closest('tr').classList.toggle('over', rest <= 0);
    }
  };
  tick();
  setInterval(tick, 1000);

  // What was done is told after the page has been loaded again.
  const done = (text, list, value) => {
    sessionStorage.setItem(TOLD, text);
    const here = new URL(location.href);
    for (const name of ['add-kind', 'add-value']) here.searchParams.delete(name);
    if (list) {
      here.search = '';
      here.searchParams.set('list', list);
      here.searchParams.set('q', value);
    }
    here.hash = '';
    location.replace(here);
  };
  const told = sessionStorage.getItem(TOLD);
  if (told) {
    sessionStorage.removeItem(TOLD);
    at('told').textContent = told;
    at('told').focus();
  }

  // Calls the control API, for what it answers; what is wrong is told at the field that it is about, else above the form.
  const call = async (form, prefix, method, path, body) => {
    const failed = at(`${prefix}-failed`);
    failed.textContent = '';
    for (const field of form.elements) {
      field.removeAttribute('aria-invalid');
      const place = at(`${prefix}-${field.name}-error`);
      if (place) place.textContent = '';
    }
    const buttons = form.querySelectorAll('button');
    buttons.forEach((button) => { button.disabled = true; });
    try {
      const answer = await fetch(path, {
        method,
        headers: body ? { 'content-type': 'application/json' } : {},
        body: body && JSON.stringify(body),
        cache: 'no-store',
      });
      if (answer.ok) return answer.status === 204 ? {} : await answer.json();
      const problem = await answer.json().catch(() => ({}));
      const errors = problem.errors ?? (problem.code === 'duplicate' ? [{ field: 'value', problem: 'is on the list already' }] : []);
      const rest = [];
      let first;
      for (const { field, problem: what } of errors) {
        const place = at(`${prefix}-${field}-error`);
        const input = form.elements.namedItem(field);
        if (place && input) {
          place.textContent = what;
          input.setAttribute('aria-invalid', 'true');
          first ??= input;
        } else {
          rest.push(`${field}: ${what}`);
        }
      }
      if (!errors.length) rest.push(`${problem.detail ?? 'no answer that can be read'} (${problem.code ?? answer.status})`);
      failed.textContent = rest.join('; ');
      buttons.forEach((button) => { button.disabled = false; });
      first?.focus();
    } catch {
      failed.textContent = 'redis-proxy cannot be reached. Nothing is known of what became of it: load the page again.';
    }
    buttons.forEach((button) => { button.disabled = false; });
    return undefined;
  };

  const text = (form, name) => form.elements.namedItem(name).value.trim();

  const add = at('add-form');
  at('no-script').remove();
  at('add').hidden = false;
  add.addEventListener('submit', async (event) => {
    event.preventDefault();
    const list = text(add, 'list');
    const time = text(add, 'ttlSeconds');
    const body = {
      kind: text(add, 'kind'),
      value: text(add, 'value'),
      ttlSeconds: time === '' ? null : Number(time) * Number(text(add, 'unit')),
      reason: text(add, 'reason'),
      ticketUrl: text(add, 'ticketUrl') || null,
    };
    const entry = await call(add, 'add', 'POST', API + list, body);
    if (entry) done(`${entry.value} is on the list ${list}.`, list, entry.value);
  });

  const dialog = at('remove');
  const remove = at('remove-form');
  let chosen;
  for (const button of document.querySelectorAll('button.remove')) {
    button.hidden = false;
    button.addEventListener('click', () => {
      chosen = button;
      remove.reset();
      for (const place of dialog.querySelectorAll('.error, .failed')) place.textContent = '';
      at('remove-what').textContent = button.dataset.value;
      dialog.showModal();
      at('remove-no').focus();
    });
  }
  at('remove-no').addEventListener('click', () => dialog.close());
  dialog.addEventListener('close', () => chosen?.focus());
  remove.addEventListener('submit', async (event) => {
    event.preventDefault();
    const { list, id, value } = chosen.dataset;
    const query = new URLSearchParams();
    for (const name of ['reason', 'ticketUrl']) if (text(remove, name)) query.set(name, text(remove, name));
    const path = `${API}${list}/${encodeURIComponent(id)}${query.size ? `?${query}` : ''}`;
    if (await call(remove, 'remove', 'DELETE', path)) done(`${value} is off the list ${list}.`);
  });

  for (const link of document.querySelectorAll('a.add')) link.hidden = false;
  if (location.hash === '#add') {
    add.closest('details').open = true;
    at('add-reason').focus();
  }
})();
