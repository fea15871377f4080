// Shows that the server and the browser do what the tests rely on, without any of our Rust: a
// failure here is not the command's.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const DEVICE_GRANT = 'urn:ietf:params:oauth:grant-type:device_code';
const PERSON = fileURLToPath(new URL('../browser/person', import.meta.url));

const outOfTime = sleep(120_000, undefined, { ref: false }).then(() => assert.fail('out of time'));
await withServer([], async (remote) => {
  const start = await remote.authorize();
  assert.match(start.verification_uri_complete, /^http:\/\/localhost:\d+\/device\?user_code=/);
  assert.equal((await remote.poll(start)).error, 'slow_down', 'polled at once');
  await person(start.verification_uri_complete, '--user bob');
  const first = await remote.poll(start);
  assert.deepEqual(await remote.me(first), {
    user_id: 'bob', email: 'bob@example.com', name: null, workspace_name: 'Counterpart',
  });

  const second = await remote.refresh(first);
  assert.notEqual(second.refresh_token, first.refresh_token);
  assert.equal((await remote.me(second)).user_id, 'bob');
  assert.equal((await remote.refresh(first)).error, 'invalid_grant', 'a refresh token works once');
  assert.equal((await remote.refresh(second)).error, 'invalid_grant', 'reuse ends the session');
  assert.equal((await remote.me(second)).code, 'UNAUTHORIZED');
  console.log('approve, rotate, reuse: as expected');
});
await withServer([], async (remote) => {
  const start = await remote.authorize();
  await person(start.verification_uri, `--deny --code ${start.user_code}`);
  assert.equal((await remote.poll(start)).error, 'access_denied');
  console.log('deny: as expected');
});
await withServer(['--device-code-seconds', '20', '--access-token-seconds', '2'], async (remote) => {
  const unused = await remote.authorize();
  await sleep(1100);
  assert.equal((await remote.poll(unused)).error, 'authorization_pending');
  const start = await remote.authorize();
  await person(start.verification_uri_complete);
  const first = await remote.poll(start);
  assert.equal((await remote.me(first)).user_id, 'alice');
  await sleep(2100);
  assert.equal((await remote.me(first)).code, 'UNAUTHORIZED', 'expired');
  const second = await remote.refresh(first);
  assert.equal(await remote.logout(second), 204);
  assert.equal((await remote.me(second)).code, 'UNAUTHORIZED', 'logged out');
  assert.equal((await remote.refresh(second)).error, 'invalid_grant', 'logged out');
  assert.equal(await remote.logout(second), 401);
  console.log('expiry, logout: as expected');
});
await withProcess('issuer.mjs', ['--algorithm', 'ES256', '--seconds', '60'], async ({ issuer }) => {
  const subject = 'repo:acme/models:ref:refs/heads/main';
  const token = (resource) => fetch(`${issuer}/token`, {
    method: 'POST',
    body: new URLSearchParams({
      grant_type: 'client_credentials', client_id: subject, client_secret: 'workload', resource,
    }),
  }).then((answer) => answer.json());
  const { jwks_uri } = await (await fetch(`${issuer}/.well-known/openid-configuration`)).json();
  const { keys } = await (await fetch(jwks_uri)).json();
  const jwt = (await token('urn:audience:baseten')).access_token;
  const [header, payload, signature] = jwt.split('.');
  const decode = (part) => JSON.parse(Buffer.from(part, 'base64url'));
  const key = keys.find(({ kid }) => kid === decode(header).kid);
  const isGood = verify(
    'sha256', Buffer.from(`${header}.${payload}`),
    { key: createPublicKey({ key, format: 'jwk' }), dsaEncoding: 'ieee-p1363' },
    Buffer.from(signature, 'base64url'),
  );
  assert.ok(isGood && decode(header).alg === 'ES256');
  const { iss, sub, aud, exp, iat } = decode(payload);
  assert.deepEqual({ iss, sub, aud, life: exp - iat }, { iss: issuer, sub: subject, aud: 'baseten', life: 60 });
  assert.equal((await token('https://example.com')).error, 'invalid_target');
  console.log('identity tokens: as expected');
});

function withServer(options, test) {
  return withProcess('server.mjs', options, async ({ remote_url }) => {
    await test(remote(remote_url));
    const log = await (await fetch(`${remote_url}/_log`)).json();
    assert.ok(log.length > 3 && log.every(({ path, status }) => path && status));
  });
}

async function withProcess(name, options, test) {
  const script = fileURLToPath(new URL(name, import.meta.url));
  const server = spawn(process.execPath, [script, ...options]);
  let said = '';
  server.stderr.on('data', (text) => { said += text; });
  server.stdin.on('error', () => {});
  const ended = once(server, 'close');
  const early = ended.then(([status]) => assert.fail(`the server ended with status ${status}`));
  try {
    const ready = once(createInterface(server.stdout), 'line');
    const [line] = await Promise.race([ready, early, outOfTime]);
    await Promise.race([test(JSON.parse(line)), early, outOfTime]);
  } catch (error) {
    console.error(`stderr of ${script}:\n${said}`);
    throw error;
  } finally {
    server.stdin.end();
  }
  await ended;
}

/** The routes, as a client without opinions calls them; answers are their JSON. */
function remote(url) {
  const base = `${url}/v1/users`;
  const post = async (path, form) => {
    const body = new URLSearchParams({ client_id: 'baseten-cli', ...form });
    return (await fetch(`${base}/auth/device/${path}`, { method: 'POST', body })).json();
  };
  const bearer = ({ access_token }) => ({ authorization: `Bearer ${access_token}` });
  return {
    authorize: () => post('authorize', {}),
    poll: ({ device_code }) => post('token', { grant_type: DEVICE_GRANT, device_code }),
    refresh: ({ refresh_token }) => post('token', { grant_type: 'refresh_token', refresh_token }),
    me: async (tokens) => (await fetch(`${base}/me`, { headers: bearer(tokens) })).json(),
    logout: async (tokens) =>
      (await fetch(`${base}/auth/logout`, { method: 'POST', headers: bearer(tokens) })).status,
  };
}

async function person(url, options = '') {
  const env = { ...process.env, PERSON_OPTIONS: options };
  const [status] = await once(spawn(PERSON, [url], { stdio: 'inherit', env }), 'exit');
  assert.equal(status, 0, `${PERSON} ${options}`);
}
