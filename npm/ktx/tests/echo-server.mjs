// Answers every gRPC call with its own request, in a process that can be killed.
import { createServer } from 'node:http2';
import { argv, stdout } from 'node:process';

const server = createServer();
server.on('stream', (stream) => {
  stream.on('error', () => {});
  stream.respond({ ':status': 200 }, { waitForTrailers: true });
  stream.on('wantTrailers', () => stream.sendTrailers({ 'grpc-status': '0' }));
  stream.pipe(stream);
});
server.listen(argv[2], () => stdout.write('listening\n'));
