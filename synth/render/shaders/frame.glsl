// What all passes of one image share. World frame, metres, linear RGB.
layout(std140) uniform Frame {
    mat4 shadow_from_world;
    mat4 ray_from_pixel;     // (x, y, 1, 0) of a pixel to its viewing ray, of depth 1
    mat4 surround_from_world;
    mat4 irradiance[3];      // a channel: (n, 1) M (n, 1) arrives from all sides at a surface with normal n
    vec3 eye;
    float ambient;
    vec3 key_direction;      // towards the light
    float wall_distance;     // where the ground ends
    vec3 key_radiance;
    float tile;              // size of the ground's pattern
    vec2 things_at;          // the middle of the square on the ground in which `occlusion` is known
    float things_reach;      // half its side
    float things_height;
    vec4 fill_position[max(FILLS, 1)];
    vec4 fill_radiance[max(FILLS, 1)];
};

const float PI = 3.141592653589793;
const float DIELECTRIC = 0.04;

// A surface's answer to light from l, seen from v. x: diffuse weight; y: specular weight (GGX, Smith), to be
// multiplied with Fresnel's term; z: that term's way from its value at normal incidence to 1 (Schlick).
vec3 response(vec3 n, vec3 v, vec3 l, float roughness) {
    vec3 h = normalize(l + v);
    float nl = clamp(dot(n, l), 0.001, 1.0);
    float nv = clamp(abs(dot(n, v)), 0.001, 1.0);
    float nh = clamp(dot(n, h), 0.0, 1.0);
    float away = 1.0 - clamp(dot(v, h), 0.0, 1.0);
    float a2 = roughness * roughness * roughness * roughness;
    float k = (roughness + 1.0) * (roughness + 1.0) / 8.0;
    float G = nv * nl / ((nv * (1.0 - k) + k) * (nl * (1.0 - k) + k));
    float spread = nh * nh * (a2 - 1.0) + 1.0;
    float D = a2 / (PI * spread * spread);
    return vec3(nl / PI, nl * G * D / (4.0 * nl * nv + 0.001), away * away * away * away * away);
}

// A place on the ground in the map of what is kept from it by the things around.
vec2 in_occlusion(vec2 position) {
    return (position - things_at) / (2.0 * things_reach) + 0.5;
}

// Light from all sides that arrives at a surface with normal n, 1 = renders white.
vec3 surrounding(vec3 n) {
    vec4 h = vec4(n, 1.0);
    return max(vec3(dot(h, irradiance[0] * h), dot(h, irradiance[1] * h), dot(h, irradiance[2] * h)), 0.0);
}

#ifdef REFLECTING
uniform sampler2D surround;  // octahedral maps of radiance; the levels are for roughness 0 ... 1
const float ROUGHEST = 4.0;

// What a surface of that roughness mirrors, r being the reflected line of sight.
vec3 reflected(vec3 r, float roughness) {
    vec3 d = mat3(surround_from_world) * r;
    vec2 at = d.xy / (abs(d.x) + abs(d.y) + abs(d.z));
    vec2 folded = (1.0 - abs(at.yx)) * vec2(at.x < 0.0 ? -1.0 : 1.0, at.y < 0.0 ? -1.0 : 1.0);
    return ambient * textureLod(surround, 0.5 + 0.5 * (d.z < 0.0 ? folded : at), ROUGHEST * roughness).rgb;
}

// Share of that. x: weight of the colour at normal incidence, y: of white (Karis, "Physically Based Shading on
// Mobile", 2014).
vec2 reflectance(float nv, float roughness) {
    vec4 r = roughness * vec4(-1.0, -0.0275, -0.572, 0.022) + vec4(1.0, 0.0425, 1.04, -0.04);
    float a = min(r.x * r.x, exp2(-9.28 * nv)) * r.x + r.y;
    return vec2(-1.04, 1.04) * a + r.zw;
}
#endif
