uniform mat4 clip_from_part;
uniform mat4 world_from_part;
uniform mat3 normal_from_part;
uniform float sunk;          // metres below the ground that still show

in vec3 in_position;
in vec3 in_normal;
in vec2 in_uv;

out vec3 position;
out vec3 normal;
out vec2 uv;

void main() {
    gl_Position = clip_from_part * vec4(in_position, 1.0);
    position = (world_from_part * vec4(in_position, 1.0)).xyz;
    normal = normalize(normal_from_part * in_normal);
    uv = vec2(in_uv.x, 1.0 - in_uv.y);
    gl_ClipDistance[0] = position.z + sunk;
}
